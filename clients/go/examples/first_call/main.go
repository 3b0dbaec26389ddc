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
	client, err := featherwire.New(featherwire.Options{
		Address: "http://localhost:8000",
		APIKey:  "gw_live_1234",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	answer, err := client.Chat(context.Background(), &featherwirev1.CreateChatCompletionRequest{
		Model: "meta-llama/Meta-Llama-3.1-8B-Instruct",
		Messages: []*featherwirev1.ChatMessage{
			{Role: "user", Content: proto.String("Say hello in 5 words")},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Choices[0].Message.GetContent())
}
