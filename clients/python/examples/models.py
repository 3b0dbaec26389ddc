from featherwire import Client
from featherwire.messages import CreateEmbeddingRequest, ModelFilter

with Client() as client:
    for model in client.models(ModelFilter(search="llama")):
        print(model.id, model.context_length)

    request = CreateEmbeddingRequest(model="BAAI/bge-m3", input="Hello")
    answer = client.call(client.embeddings.CreateEmbedding, request)
    print(len(answer.data), "vector")
