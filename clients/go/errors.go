package featherwire

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	featherwirev1 "featherwire.example/go/featherwire/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const domain = "featherwire"

// ErrIncomplete says that a stream has ended, or was closed, before the answer was complete.
var ErrIncomplete = errors.New("the answer is not complete")

// Error is a call that failed.
type Error struct {
	// Code is the gRPC status.
	Code codes.Code
	// Message says what is wrong and what to do.
	Message string
	// Reason is ERROR_REASON_UNSPECIFIED if the error is not the gateway's, or if the contract does
	// not list the reason.
	Reason featherwirev1.ErrorReason
	// ReasonName is the name of the reason, such as MODEL_NOT_READY, or empty.
	ReasonName string
	// Field is the path of the wrong field, such as messages[0].content, or empty.
	Field string
	// RetryAfter is the time after which the call can be repeated, or 0.
	RetryAfter time.Duration
	// Retry says whether the same call may succeed without a change: `soon` (within a minute),
	// `later` or `never`. It is empty if the error is not the gateway's.
	Retry string
	// RequestID is the id of the request, which the gateway's log has too.
	RequestID string
	// Model is the requested model, or empty.
	Model string
	// Limit is the limit that was reached, or 0.
	Limit int64
	// HelpURL is a page that helps, or empty.
	HelpURL string

	status *status.Status
}

// Error is the message with the reason.
func (err *Error) Error() string {
	if err.ReasonName != "" {
		return err.Message + " (" + err.ReasonName + ")"
	}
	return err.Message + " (" + err.Code.String() + ")"
}

// GRPCStatus is the status with all details. status.FromError and status.Code use it.
func (err *Error) GRPCStatus() *status.Status {
	return err.status
}

// Is makes errors.Is(err, context.DeadlineExceeded) and errors.Is(err, context.Canceled) true.
func (err *Error) Is(target error) bool {
	return target == context.DeadlineExceeded && err.Code == codes.DeadlineExceeded ||
		target == context.Canceled && err.Code == codes.Canceled
}

// typed makes an error of grpc one of this package.
func typed(err error, header, trailer metadata.MD) error {
	if err == nil || err == io.EOF {
		return err
	}
	known := status.Convert(err)
	failure := &Error{Code: known.Code(), Message: known.Message(), status: known}
	for _, ids := range [][]string{header.Get("x-request-id"), trailer.Get("x-request-id")} {
		if len(ids) > 0 {
			failure.RequestID = ids[0]
		}
	}
	for _, detail := range known.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.add(detail)
		case *errdetails.RetryInfo:
			failure.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				failure.Field = violation.GetField()
				break
			}
		case *errdetails.Help:
			for _, link := range detail.GetLinks() {
				failure.HelpURL = link.GetUrl()
				break
			}
		}
	}
	return failure
}

func (err *Error) add(info *errdetails.ErrorInfo) {
	if info.GetDomain() != domain {
		return
	}
	err.ReasonName = info.GetReason()
	number := featherwirev1.ErrorReason_value["ERROR_REASON_"+err.ReasonName]
	err.Reason = featherwirev1.ErrorReason(number)
	err.Model = info.GetMetadata()["model"]
	err.Retry = info.GetMetadata()["retry"]
	// A limit that is not a number is not known.
	err.Limit, _ = strconv.ParseInt(info.GetMetadata()["limit"], 10, 64)
}
