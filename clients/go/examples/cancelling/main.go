package main

import (
	"context"
	"fmt"
	"log"

	"featherwire.example/go"
	featherwirev1 "featherwire.example/go/featherwire/v1"
	"google.golang.org/protobuf/proto"
)

func main() {
	client, err := featherwire.New(featherwire.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := client.StreamChat(ctx, &featherwirev1.CreateChatCompletionRequest{
		Model: "meta-llama/Meta-Llama-3.1-8B-Instruct",
		Messages: []*featherwirev1.ChatMessage{
			{Role: "user", Content: proto.String("Write a long story")},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for stream.Next() {
		if stream.Text() != "" {
			stream.Close() // Or cancel().
		}
	}
	answer, err := stream.Answer()
	fmt.Println("what has come:", answer.Choices[0].Message.GetContent())
	fmt.Println(err)
}
