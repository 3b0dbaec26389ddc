package featherwire

import (
	"sort"

	featherwirev1 "featherwire.example/go/featherwire/v1"
	"google.golang.org/protobuf/proto"
)

// ChatAccumulator adds up the pieces of a streamed answer. Texts and lists are joined, and of
// everything else the last value counts, also of Extra.
type ChatAccumulator struct {
	answer  featherwirev1.CreateChatCompletionResponse
	choices map[int32]*choiceAccumulator
}

type choiceAccumulator struct {
	sum         *featherwirev1.ChatChoice
	callOfIndex map[int32]*featherwirev1.ToolCall
}

// Add adds the next piece.
func (sum *ChatAccumulator) Add(chunk *featherwirev1.StreamChatCompletionResponse) {
	if chunk.Featherwire.GetQueue() != nil {
		return // It tells how the call waits, and is no part of the answer.
	}
	answer := &sum.answer
	if answer.Id == "" {
		answer.Id = chunk.Id
	}
	if answer.Created == 0 {
		answer.Created = chunk.Created
	}
	if answer.Model == "" {
		answer.Model = chunk.Model
	}
	if chunk.Usage != nil {
		if answer.Usage == nil {
			answer.Usage = &featherwirev1.Usage{}
		}
		proto.Merge(answer.Usage, chunk.Usage)
	}
	last(&answer.ServiceTier, chunk.ServiceTier)
	last(&answer.SystemFingerprint, chunk.SystemFingerprint)
	last(&answer.Moderation, chunk.Moderation)
	if chunk.Featherwire != nil {
		answer.Featherwire = chunk.Featherwire
	}
	update(&answer.Extra, chunk.Extra)
	for _, piece := range chunk.Choices {
		choice := sum.choices[piece.Index]
		if choice == nil {
			if sum.choices == nil {
				sum.choices = map[int32]*choiceAccumulator{}
			}
			choice = &choiceAccumulator{
				sum: &featherwirev1.ChatChoice{
					Index:   piece.Index,
					Message: &featherwirev1.ChatMessage{},
				},
				callOfIndex: map[int32]*featherwirev1.ToolCall{},
			}
			sum.choices[piece.Index] = choice
		}
		choice.add(piece)
	}
}

// IsComplete says whether the model has finished all answers that it has begun.
func (sum *ChatAccumulator) IsComplete() bool {
	for _, choice := range sum.choices {
		if choice.sum.GetFinishReason() == "" {
			return false
		}
	}
	return len(sum.choices) > 0
}

// Answer is the answer so far, as a unary call returns it.
func (sum *ChatAccumulator) Answer() *featherwirev1.CreateChatCompletionResponse {
	answer := proto.Clone(&sum.answer).(*featherwirev1.CreateChatCompletionResponse)
	for _, choice := range sum.choices {
		answer.Choices = append(answer.Choices, choice.finish())
	}
	sort.Slice(answer.Choices, func(a, b int) bool {
		return answer.Choices[a].Index < answer.Choices[b].Index
	})
	return answer
}

func (choice *choiceAccumulator) add(piece *featherwirev1.ChatChunkChoice) {
	sum := choice.sum
	if sum.GetFinishReason() == "" {
		last(&sum.FinishReason, piece.FinishReason)
	}
	if piece.Logprobs != nil {
		if sum.Logprobs == nil {
			sum.Logprobs = &featherwirev1.Logprobs{}
		}
		proto.Merge(sum.Logprobs, piece.Logprobs)
	}
	update(&sum.Extra, piece.Extra)
	delta, message := piece.Delta, sum.Message
	if delta == nil {
		return
	}
	if message.Role == "" {
		message.Role = delta.GetRole()
	}
	addContent(message, delta)
	join(&message.Refusal, delta.Refusal)
	join(&message.Reasoning, delta.Reasoning)
	join(&message.ReasoningContent, delta.ReasoningContent)
	message.Annotations = append(message.Annotations, delta.Annotations...)
	update(&message.Extra, delta.Extra)
	if delta.Audio != nil {
		if message.Audio == nil {
			message.Audio = &featherwirev1.ChatAudio{}
		}
		last(&message.Audio.Id, delta.Audio.Id)
		if delta.Audio.ExpiresAt != nil {
			message.Audio.ExpiresAt = delta.Audio.ExpiresAt
		}
		join(&message.Audio.Data, delta.Audio.Data)
		join(&message.Audio.Transcript, delta.Audio.Transcript)
		update(&message.Audio.Extra, delta.Audio.Extra)
	}
	addFunction(&message.FunctionCall, delta.FunctionCall)
	for _, call := range delta.ToolCalls {
		choice.addCall(call)
	}
}

func addContent(message *featherwirev1.ChatMessage, delta *featherwirev1.ChatDelta) {
	part := func(text string) *featherwirev1.ContentPart {
		return &featherwirev1.ContentPart{Type: proto.String("text"), Text: proto.String(text)}
	}
	switch {
	case len(delta.ContentParts) > 0:
		// A message has one text or a list of parts, so earlier text becomes a part.
		if message.GetContent() != "" {
			message.ContentParts = append(message.ContentParts, part(message.GetContent()))
		}
		message.Content = nil
		message.ContentParts = append(message.ContentParts, delta.ContentParts...)
	case delta.Content != nil && len(message.ContentParts) > 0:
		message.ContentParts = append(message.ContentParts, part(delta.GetContent()))
	default:
		join(&message.Content, delta.Content)
	}
}

// addCall adds a piece to its call: the call with its id or, without an id, with its index.
func (choice *choiceAccumulator) addCall(piece *featherwirev1.ToolCall) {
	message := choice.sum.Message
	var known *featherwirev1.ToolCall
	switch calls := message.ToolCalls; {
	case piece.GetId() != "":
		for _, call := range calls {
			if call.GetId() == piece.GetId() {
				known = call
			}
		}
	case piece.Index != nil:
		known = choice.callOfIndex[piece.GetIndex()]
	case len(calls) > 0:
		known = calls[len(calls)-1]
	}
	if known == nil {
		known = &featherwirev1.ToolCall{}
		message.ToolCalls = append(message.ToolCalls, known)
	}
	if piece.Index != nil {
		choice.callOfIndex[piece.GetIndex()] = known
	}
	if piece.GetId() != "" {
		known.Id = piece.Id
	}
	if piece.GetType() != "" {
		known.Type = piece.Type
	}
	addFunction(&known.Function, piece.Function)
	if piece.Custom != nil {
		if known.Custom == nil {
			known.Custom = &featherwirev1.CustomToolCall{}
		}
		joinName(&known.Custom.Name, piece.Custom.Name)
		join(&known.Custom.Input, piece.Custom.Input)
		update(&known.Custom.Extra, piece.Custom.Extra)
	}
	update(&known.Extra, piece.Extra)
}

func (choice *choiceAccumulator) finish() *featherwirev1.ChatChoice {
	finished := proto.Clone(choice.sum).(*featherwirev1.ChatChoice)
	message := finished.Message
	if message.Role == "" {
		message.Role = "assistant"
	}
	// A stream begins with an empty text, also if the model only calls tools.
	if len(message.ToolCalls) > 0 && message.GetContent() == "" {
		message.Content = nil
	}
	return finished
}

func addFunction(known **featherwirev1.FunctionCall, piece *featherwirev1.FunctionCall) {
	if piece == nil {
		return
	}
	if *known == nil {
		*known = &featherwirev1.FunctionCall{}
	}
	joinName(&(*known).Name, piece.Name)
	join(&(*known).Arguments, piece.Arguments)
	update(&(*known).Extra, piece.Extra)
}

// joinName joins a name that comes in pieces. Some engines repeat it in each piece instead.
func joinName(known **string, piece *string) {
	if *known == nil || piece == nil || **known != *piece {
		join(known, piece)
	}
}

func join(known **string, piece *string) {
	switch {
	case piece == nil:
	case *known == nil:
		*known = proto.String(*piece)
	default:
		**known += *piece
	}
}

func last(known **string, value *string) {
	if value != nil {
		*known = value
	}
}

func update(known *map[string]string, more map[string]string) {
	if *known == nil && len(more) > 0 {
		*known = map[string]string{}
	}
	for name, value := range more {
		(*known)[name] = value
	}
}
