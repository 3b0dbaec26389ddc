// clients/go, compiled against the Go packages of Debian.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"featherwire.example/go"
	adminv1 "featherwire.example/go/featherwire/admin/v1"
	featherwirev1 "featherwire.example/go/featherwire/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	model  = "meta-llama/Meta-Llama-3.1-8B-Instruct"
	silent = "emulator/stall-after-5"
)

var (
	address = os.Getenv("FEATHERWIRE_URL")
	key     = os.Getenv("FEATHERWIRE_KEY")
	ctx     = context.Background()
	client  = connect(featherwire.Options{Address: address, APIKey: key, Timeout: 30 * time.Second})
)

func connect(options featherwire.Options) *featherwire.Client {
	client, err := featherwire.New(options)
	require(err)
	return client
}

// check runs a check, which panics if it fails, and writes the line that `run` counts.
func check(name string, body func()) {
	defer func() {
		if why := recover(); why != nil {
			fmt.Printf("not ok packages/go: %s: %v\n", name, strings.ReplaceAll(fmt.Sprint(why), "\n", " "))
		} else {
			fmt.Println("ok packages/go:", name)
		}
	}()
	body()
}

func require(err error) {
	if err != nil {
		panic(err)
	}
}

func that(condition bool, what ...interface{}) {
	if !condition {
		panic(fmt.Sprint(what...))
	}
}

func equal(found, expected interface{}) {
	that(found == expected, fmt.Sprintf("found %v, expected %v", found, expected))
}

func request(model string) *featherwirev1.CreateChatCompletionRequest {
	return &featherwirev1.CreateChatCompletionRequest{
		Model:    model,
		Messages: []*featherwirev1.ChatMessage{{Role: "user", Content: proto.String("Say hello in 5 words")}},
		Seed:     proto.Int64(7),
	}
}

func withTool(model string) *featherwirev1.CreateChatCompletionRequest {
	asked := request(model)
	asked.Messages[0].Content = proto.String("Call get_weather for the city of Oslo")
	parameters := `{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}`
	asked.Tools = []*featherwirev1.Tool{{Function: &featherwirev1.FunctionDefinition{
		Name: proto.String("get_weather"), Parameters: proto.String(parameters),
	}}}
	return asked
}

func stream(asked *featherwirev1.CreateChatCompletionRequest) *featherwire.ChatStream {
	stream, err := client.StreamChat(ctx, asked)
	require(err)
	return stream
}

// same says whether two answers differ only in what differs in all answers.
func same(a, b *featherwirev1.CreateChatCompletionResponse) bool {
	without := func(answer *featherwirev1.CreateChatCompletionResponse) proto.Message {
		answer = proto.Clone(answer).(*featherwirev1.CreateChatCompletionResponse)
		for _, choice := range answer.Choices {
			for _, call := range choice.Message.ToolCalls {
				call.Id, call.Index = nil, nil
			}
		}
		return &featherwirev1.CreateChatCompletionResponse{Choices: answer.Choices}
	}
	return proto.Equal(without(a), without(b))
}

func failure(err error) *featherwire.Error {
	var failure *featherwire.Error
	that(errors.As(err, &failure), fmt.Sprintf("%T: %v", err, err))
	return failure
}

// active waits until the account's units are used by this model alone, or by none.
func active(model string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	watch, err := client.Account.WatchConcurrency(ctx, &featherwirev1.WatchConcurrencyRequest{})
	require(err)
	for {
		used, err := watch.Recv()
		require(err)
		if model == "" && len(used.Requests) == 0 ||
			len(used.Requests) == 1 && used.Requests[0].GetModel() == model {
			return
		}
	}
}

func main() {
	check("a unary answer", func() {
		answer, err := client.Chat(ctx, request(model))
		require(err)
		equal(len(strings.Fields(answer.Choices[0].Message.GetContent())), 5)
		equal(answer.Choices[0].GetFinishReason(), "stop")
	})

	check("a stream's text, and the answer at its end with the usage", func() {
		asked := request(model)
		pieces, stream := []string{}, stream(asked)
		for stream.Next() {
			pieces = append(pieces, stream.Text())
		}
		require(stream.Err())
		answer, err := stream.Answer()
		require(err)
		unary, err := client.Chat(ctx, request(model))
		require(err)
		that(len(pieces) > 1, "one piece")
		equal(strings.Join(pieces, ""), unary.Choices[0].Message.GetContent())
		that(same(answer, unary), answer)
		equal(answer.Usage.GetTotalTokens(), unary.Usage.GetTotalTokens())
		that(proto.Equal(asked, request(model)), "the caller's request has changed")
	})

	check("a stream adds up to the unary answer: tool calls, answers, reasoning", func() {
		several, probable := request(model), request(model)
		several.N = proto.Int32(3)
		probable.Logprobs, probable.TopLogprobs = proto.Bool(true), proto.Int32(2)
		for _, asked := range []*featherwirev1.CreateChatCompletionRequest{
			withTool(model), withTool("emulator/same-index-calls"), withTool("emulator/calls-by-id"),
			several, request("emulator/think"), probable,
		} {
			unary, err := client.Chat(ctx, asked)
			require(err)
			answer, err := stream(asked).Answer()
			require(err)
			that(same(answer, unary), answer, " and not ", unary)
			that(asked.Tools == nil || len(unary.Choices[0].Message.ToolCalls) > 0, "no tool was called")
		}
	})

	text, err := os.ReadFile(os.Getenv("PIECES"))
	require(err)
	var cases []struct {
		Name       string
		IsComplete bool
		Chunks     []json.RawMessage
		Answer     json.RawMessage
	}
	require(json.Unmarshal(text, &cases))
	for _, one := range cases {
		check(one.Name, func() {
			var sum featherwire.ChatAccumulator
			for _, text := range one.Chunks {
				chunk := &featherwirev1.StreamChatCompletionResponse{}
				require(protojson.Unmarshal(text, chunk))
				sum.Add(chunk)
			}
			expected := &featherwirev1.CreateChatCompletionResponse{}
			require(protojson.Unmarshal(one.Answer, expected))
			that(proto.Equal(sum.Answer(), expected), sum.Answer())
			equal(sum.IsComplete(), one.IsComplete)
		})
	}

	check("`Close` and the end of the context each end the call at Featherless", func() {
		closed := stream(request(silent))
		that(closed.Next(), closed.Err())
		active(silent)
		closed.Close()
		answer, err := closed.Answer()
		equal(err, featherwire.ErrIncomplete)
		that(len(answer.Choices) > 0, "nothing has come")
		active("")

		ctx, cancel := context.WithCancel(ctx)
		cancelled, err := client.StreamChat(ctx, request(silent))
		require(err)
		that(cancelled.Next(), cancelled.Err())
		active(silent)
		cancel()
		_, err = cancelled.Answer()
		that(errors.Is(err, context.Canceled), err)
		active("")
	})

	check("`Close` of the stream and of the client end a call that another goroutine reads", func() {
		closed := stream(request(silent))
		go func() {
			active(silent)
			closed.Close()
		}()
		answer, err := closed.Answer()
		equal(err, featherwire.ErrIncomplete)
		equal(closed.Err(), featherwire.ErrIncomplete)
		that(answer.Choices[0].Message.GetContent() != "", "nothing has come")
		active("")

		closing := connect(featherwire.Options{Address: address, APIKey: key})
		ended, err := closing.StreamChat(ctx, request(silent))
		require(err)
		go func() {
			active(silent)
			require(closing.Close())
		}()
		_, err = ended.Answer()
		equal(failure(err).Code, codes.Canceled)
		_, err = closing.Chat(ctx, request(model))
		equal(failure(err).Code, codes.Canceled)
		_, err = closing.StreamChat(ctx, request(model))
		equal(failure(err).Code, codes.Canceled)
		active("")
	})

	check("a stream that has not begun, and one whose answer is complete, can be closed", func() {
		closed := stream(request(silent))
		closed.Close()
		that(!closed.Next(), "a closed stream goes on")
		equal(closed.Err(), featherwire.ErrIncomplete)
		_, err := closed.Answer()
		equal(err, featherwire.ErrIncomplete)
		complete := stream(request(model))
		_, err = complete.Answer()
		require(err)
		complete.Close()
		_, err = complete.Answer()
		require(err)
	})

	check("an answer that is cut short is an error, after its text", func() {
		for _, model := range []string{"emulator/cut-after-5", "emulator/eof-after-5"} {
			answer, err := stream(request(model)).Answer()
			failed := failure(err)
			equal(failed.Code, codes.Unavailable)
			equal(failed.Reason, featherwirev1.ErrorReason_ERROR_REASON_UPSTREAM_STREAM_CUT)
			that(answer.Choices[0].Message.GetContent() != "", "no text")
		}
	})

	check("an error has its reason, its wait, its model and its request's id", func() {
		_, unary := client.Chat(ctx, request("emulator/503-retry-after-60"))
		_, streamed := stream(request("emulator/503-retry-after-60")).Answer()
		for _, err := range []error{unary, streamed} {
			failed := failure(err)
			equal(status.Code(err), codes.Unavailable)
			equal(failed.Reason, featherwirev1.ErrorReason_ERROR_REASON_NO_CAPACITY)
			equal(failed.Retry, "soon")
			equal(failed.RetryAfter, time.Minute)
			equal(failed.Model, "emulator/503-retry-after-60")
			equal(len(failed.RequestID), 32)
		}
	})

	check("an error names the wrong field, and the page that helps", func() {
		wrong := request(model)
		wrong.Temperature = proto.Float64(3)
		_, err := client.Chat(ctx, wrong)
		equal(failure(err).Field, "temperature")
		equal(failure(err).Retry, "never")
		_, err = client.Chat(ctx, request("emulator/gated"))
		equal(failure(err).ReasonName, "MODEL_GATED")
		that(strings.HasPrefix(failure(err).HelpURL, "https://"), failure(err).HelpURL)
	})

	check("a wrong key is an error without the key", func() {
		_, err := connect(featherwire.Options{Address: address, APIKey: "gw_wrong"}).Chat(ctx, request(model))
		equal(failure(err).Reason, featherwirev1.ErrorReason_ERROR_REASON_INVALID_API_KEY)
		that(!strings.Contains(fmt.Sprintf("%+v", err), "gw_wrong"), "the error has the key")
	})

	check("the deadline of a call, and the timeout of the client", func() {
		soon, cancel := context.WithTimeout(ctx, time.Second/2)
		defer cancel()
		late, err := client.StreamChat(soon, request(silent))
		require(err)
		_, err = late.Answer()
		that(errors.Is(err, context.DeadlineExceeded), err)
		hasty := connect(featherwire.Options{Address: address, APIKey: key, Timeout: time.Second / 2})
		_, err = hasty.Chat(ctx, request(silent))
		equal(failure(err).Code, codes.DeadlineExceeded)
		hurried, err := hasty.StreamChat(ctx, request(silent))
		require(err)
		_, err = hurried.Answer()
		equal(failure(err).Code, codes.DeadlineExceeded)
		later, cancelLater := context.WithTimeout(ctx, 30*time.Second)
		defer cancelLater()
		_, err = hasty.Chat(later, request(model))
		require(err)
	})

	check("all models, over several pages", func() {
		found, count := map[string]bool{}, 0
		models := client.Models(ctx, nil)
		for models.Next() {
			found[models.Model().Id] = true
			count++
		}
		require(models.Err())
		page, err := client.Catalogue.ListModels(ctx, &featherwirev1.ListModelsRequest{PageSize: 1})
		require(err)
		equal(count, int(page.GetTotalSize()))
		equal(count, len(found))
		that(count > 2000, count)
	})

	check("a client of another service, with the key and the errors", func() {
		_, err := adminv1.NewKeyServiceClient(client.Conn).ListKeys(ctx, &adminv1.ListKeysRequest{})
		equal(failure(err).Reason, featherwirev1.ErrorReason_ERROR_REASON_WRONG_KEY_ROLE)
	})

	check("TLS, with the authority of the gateway's certificate and not without it", func() {
		options := featherwire.Options{
			Address: os.Getenv("FEATHERWIRE_TLS_URL"), APIKey: key, Timeout: 30 * time.Second,
		}
		_, err := connect(options).Chat(ctx, request(model))
		equal(failure(err).Code, codes.Unavailable)
		options.CA = os.Getenv("FEATHERWIRE_TLS_CA")
		_, err = connect(options).Chat(ctx, request(model))
		require(err)
	})

	check("the environment is the default, and a wrong address is an error", func() {
		require(os.Setenv("FEATHERWIRE_GATEWAY", address))
		require(os.Setenv("FEATHERWIRE_API_KEY", key))
		_, err := connect(featherwire.Options{}).Chat(ctx, request(model))
		require(err)
		short := strings.TrimPrefix(address, "http://")
		_, err = connect(featherwire.Options{Address: short}).Chat(ctx, request(model))
		require(err)
		for _, wrong := range []string{
			"ftp://localhost", "http://user:secret@localhost", "http://localhost/v1", "http://",
		} {
			_, err := featherwire.New(featherwire.Options{Address: wrong})
			that(err != nil, wrong)
			that(!strings.Contains(err.Error(), "secret"), err)
		}
	})

	check("the version is the contract's", func() {
		equal(featherwire.Version, os.Getenv("FEATHERWIRE_VERSION"))
	})
}
