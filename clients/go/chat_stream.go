package featherwire

import (
	"context"
	"io"
	"strings"
	"sync/atomic"

	featherwirev1 "featherwire.example/go/featherwire/v1"
	"google.golang.org/protobuf/proto"
)

// ChatStream is a streamed answer:
//
//	stream, err := client.StreamChat(ctx, request)
//	if err != nil { … }
//	defer stream.Close()
//	for stream.Next() {
//		fmt.Print(stream.Text())
//	}
//	answer, err := stream.Answer()
//
// Close and the end of the context end the call, also in the gateway and at Featherless.
type ChatStream struct {
	chunks     featherwirev1.ChatService_StreamChatCompletionClient
	cancel     context.CancelFunc
	chunk      *featherwirev1.StreamChatCompletionResponse
	sum        ChatAccumulator
	isClosed   atomic.Bool
	hasEnded   bool
	isComplete bool
	err        error
}

// StreamChat asks for an answer in pieces. Its usage is requested unless StreamOptions says
// otherwise. Close the stream after its use.
func (client *Client) StreamChat(
	ctx context.Context, request *featherwirev1.CreateChatCompletionRequest,
) (*ChatStream, error) {
	// A copy, because the caller's message must not change.
	request = proto.Clone(request).(*featherwirev1.CreateChatCompletionRequest)
	if request.StreamOptions == nil {
		request.StreamOptions = &featherwirev1.StreamOptions{}
	}
	if request.StreamOptions.IncludeUsage == nil {
		request.StreamOptions.IncludeUsage = proto.Bool(true)
	}
	ctx, cancel := context.WithCancel(ctx)
	chunks, err := client.Chats.StreamChatCompletion(ctx, request)
	if err != nil {
		cancel()
		return nil, err
	}
	return &ChatStream{chunks: chunks, cancel: cancel}, nil
}

// Next waits for the next piece. It is false at the end of the stream: see Answer and Err.
func (stream *ChatStream) Next() bool {
	if stream.hasEnded {
		return false
	}
	if stream.isClosed.Load() {
		// The same as if Close had ended a wait for the next piece.
		stream.hasEnded = true
		stream.err = ErrIncomplete
		return false
	}
	chunk, err := stream.chunks.Recv()
	if err == nil {
		stream.chunk = chunk
		stream.sum.Add(chunk)
		return true
	}
	stream.hasEnded = true
	stream.isComplete = err == io.EOF && stream.sum.IsComplete()
	if err != io.EOF && !stream.isClosed.Load() {
		stream.err = err
	} else if !stream.isComplete {
		stream.err = ErrIncomplete
	}
	stream.cancel()
	return false
}

// Text is the new text of the first answer. A piece can have none.
func (stream *ChatStream) Text() string {
	var text strings.Builder
	for _, choice := range stream.chunk.GetChoices() {
		if choice.GetIndex() == 0 {
			text.WriteString(choice.GetDelta().GetContent())
		}
	}
	return text.String()
}

// Chunk is the piece as the gateway sends it, with everything besides the text.
func (stream *ChatStream) Chunk() *featherwirev1.StreamChatCompletionResponse {
	return stream.chunk
}

// Err is the error that has ended the stream, such as one of the type *Error.
func (stream *ChatStream) Err() error {
	return stream.err
}

// Answer reads the rest, and returns the answer: its message, tool calls and usage. If the answer
// is not complete, it returns an error, and what has come.
func (stream *ChatStream) Answer() (*featherwirev1.CreateChatCompletionResponse, error) {
	for stream.Next() {
	}
	if stream.err == nil && !stream.isComplete {
		return stream.sum.Answer(), ErrIncomplete
	}
	return stream.sum.Answer(), stream.err
}

// Close ends the call. It does nothing after the call's end. All goroutines may call it.
func (stream *ChatStream) Close() {
	stream.isClosed.Store(true)
	stream.cancel()
}
