package main

import (
	"context"
	"fmt"
	"log"

	"featherwire.example/go"
	featherwirev1 "featherwire.example/go/featherwire/v1"
)

func main() {
	client, err := featherwire.New(featherwire.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx := context.Background()
	models := client.Models(ctx, &featherwirev1.ModelFilter{Search: "llama"})
	for models.Next() {
		fmt.Println(models.Model().Id, models.Model().GetContextLength())
	}
	if err := models.Err(); err != nil {
		log.Fatal(err)
	}

	answer, err := client.Embeddings.CreateEmbedding(ctx, &featherwirev1.CreateEmbeddingRequest{
		Model:     "BAAI/bge-m3",
		InputKind: &featherwirev1.CreateEmbeddingRequest_Input{Input: "Hello"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(answer.Data), "vector")
}
