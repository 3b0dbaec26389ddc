from featherwire import Client, ErrorReason, FeatherwireError
from featherwire.messages import ChatMessage, CreateChatCompletionRequest

request = CreateChatCompletionRequest(
    model="emulator/503-retry-after-60",  # This model of the emulator never has capacity.
    messages=[ChatMessage(role="user", content="Say hello in 5 words")],
)
with Client(timeout=60) as client:
    try:
        print(client.chat(request, timeout=10).choices[0].message.content)
    except FeatherwireError as error:
        print(error)
        if error.reason == ErrorReason.ERROR_REASON_INVALID_VALUE:
            print("correct the field", error.field)
        if error.retry == "soon":
            print("try again after", error.retry_after, "seconds")
        print("the gateway's log has the request as", error.request_id)
