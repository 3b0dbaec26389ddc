package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"featherwire.example/go"
	featherwirev1 "featherwire.example/go/featherwire/v1"
	"google.golang.org/protobuf/proto"
)

func main() {
	client, err := featherwire.New(featherwire.Options{Timeout: time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = client.Chat(ctx, &featherwirev1.CreateChatCompletionRequest{
		Model: "emulator/503-retry-after-60", // This model of the emulator never has capacity.
		Messages: []*featherwirev1.ChatMessage{
			{Role: "user", Content: proto.String("Say hello in 5 words")},
		},
	})
	var failure *featherwire.Error
	if errors.As(err, &failure) {
		fmt.Println(failure)
		if failure.Reason == featherwirev1.ErrorReason_ERROR_REASON_INVALID_VALUE {
			fmt.Println("correct the field", failure.Field)
		}
		if failure.Retry == "soon" {
			fmt.Println("try again after", failure.RetryAfter)
		}
		fmt.Println("the gateway's log has the request as", failure.RequestID)
	}
}
