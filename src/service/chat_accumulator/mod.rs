//! A streamed chat answer added up to the unary one. Pure: chunks in, an answer out.
//!
//! - Text of each kind (content, refusal, both spellings of reasoning, arguments, transcripts) is joined in order.
//! - Pieces of a tool call belong together by `index`; where the index is missing, a new id or a name after the arguments
//!   have begun starts the next call.
//! - Lists (logprobs, annotations, parts) are joined; of all else, unknown members included, the last one wins.
//! - What only streams have is left out: the `index` of tool calls, `obfuscation`.

use crate::proto::v1::{
    Audio, ChatChoice, ChatChunkChoice, ChatDelta, ChatMessage, ContentPart, ContentParts,
    CreateChatCompletionResponse, CustomToolCall, FunctionCall, Logprobs, StreamChatCompletionResponse, ToolCall,
    chat_delta, chat_message::Body,
};

/// Adds up one answer.
#[derive(Debug, Default)]
pub struct ChatAccumulator {
    answer: CreateChatCompletionResponse,
}

impl ChatAccumulator {
    /// Adds the next chunk.
    pub fn add(&mut self, chunk: StreamChatCompletionResponse) {
        let answer = &mut self.answer;
        if answer.id.is_empty() {
            answer.id = chunk.id;
        }
        if answer.created == 0 {
            answer.created = chunk.created;
        }
        if answer.model.is_empty() {
            answer.model = chunk.model;
        }
        last(&mut answer.usage, chunk.usage);
        last(&mut answer.service_tier, chunk.service_tier);
        last(&mut answer.system_fingerprint, chunk.system_fingerprint);
        last(&mut answer.moderation, chunk.moderation);
        answer.extra.extend(chunk.extra);
        for choice in chunk.choices {
            let place = answer.choices.iter().position(|known| known.index >= choice.index);
            let place = place.unwrap_or(answer.choices.len());
            if answer.choices.get(place).is_none_or(|known| known.index != choice.index) {
                answer.choices.insert(place, ChatChoice { index: choice.index, ..ChatChoice::default() });
            }
            if let Some(known) = answer.choices.get_mut(place) {
                add_choice(known, choice);
            }
        }
    }

    /// The answer that the chunks add up to.
    pub fn finish(mut self) -> CreateChatCompletionResponse {
        for message in self.answer.choices.iter_mut().filter_map(|choice| choice.message.as_mut()) {
            if message.role.is_empty() {
                "assistant".clone_into(&mut message.role);
            }
            message.tool_calls.iter_mut().for_each(|call| call.index = None);
            // A stream begins with an empty text; where only tools are called, a unary answer has null instead.
            if !message.tool_calls.is_empty() && message.body == Some(Body::Content(String::new())) {
                message.body = None;
            }
        }
        self.answer
    }
}

fn add_choice(known: &mut ChatChoice, choice: ChatChunkChoice) {
    last(&mut known.finish_reason, choice.finish_reason);
    if let Some(logprobs) = choice.logprobs {
        let known = known.logprobs.get_or_insert_with(Logprobs::default);
        known.content.extend(logprobs.content);
        known.refusal.extend(logprobs.refusal);
        known.extra.extend(logprobs.extra);
    }
    known.extra.extend(choice.extra);
    let message = known.message.get_or_insert_with(ChatMessage::default);
    if let Some(delta) = choice.delta {
        add_delta(message, delta);
    }
}

fn add_delta(message: &mut ChatMessage, delta: ChatDelta) {
    if message.role.is_empty() {
        message.role = delta.role.unwrap_or_default();
    }
    add_body(&mut message.body, delta.body);
    join(&mut message.refusal, delta.refusal);
    join(&mut message.reasoning, delta.reasoning);
    join(&mut message.reasoning_content, delta.reasoning_content);
    for call in delta.tool_calls {
        add_tool_call(&mut message.tool_calls, call);
    }
    if let Some(call) = delta.function_call {
        add_function(message.function_call.get_or_insert_with(FunctionCall::default), call);
    }
    if let Some(audio) = delta.audio {
        add_audio(message.audio.get_or_insert_with(Audio::default), audio);
    }
    message.annotations.extend(delta.annotations);
    message.extra.extend(delta.extra);
}

fn add_body(known: &mut Option<Body>, piece: Option<chat_delta::Body>) {
    let Some(piece) = piece else { return };
    *known = Some(match (known.take(), piece) {
        (None, chat_delta::Body::Content(text)) => Body::Content(text),
        (None, chat_delta::Body::ContentParts(parts)) => Body::ContentParts(parts),
        (Some(Body::Content(text)), chat_delta::Body::Content(more)) => Body::Content(text + &more),
        (Some(Body::ContentParts(mut parts)), chat_delta::Body::ContentParts(more)) => {
            parts.parts.extend(more.parts);
            Body::ContentParts(parts)
        }
        // An engine that changes its mind: text among parts is a text part.
        (Some(Body::ContentParts(mut parts)), chat_delta::Body::Content(text)) => {
            parts.parts.push(text_part(text));
            Body::ContentParts(parts)
        }
        (Some(Body::Content(text)), chat_delta::Body::ContentParts(more)) if text.is_empty() => {
            Body::ContentParts(more)
        }
        (Some(Body::Content(text)), chat_delta::Body::ContentParts(more)) => {
            Body::ContentParts(ContentParts { parts: [vec![text_part(text)], more.parts].concat() })
        }
    });
}

fn text_part(text: String) -> ContentPart {
    ContentPart { r#type: Some("text".to_owned()), text: Some(text), ..ContentPart::default() }
}

fn add_tool_call(known: &mut Vec<ToolCall>, piece: ToolCall) {
    let place = match piece.index {
        Some(index) => known.iter().position(|call| call.index == Some(index)),
        None => known.len().checked_sub(1).filter(|&place| known.get(place).is_some_and(|call| goes_on(call, &piece))),
    };
    let call = match place.and_then(|place| known.get_mut(place)) {
        Some(call) => call,
        None => {
            known.push(ToolCall { index: piece.index, ..ToolCall::default() });
            let Some(call) = known.last_mut() else { return };
            call
        }
    };
    last(&mut call.id, piece.id.filter(|id| !id.is_empty()));
    last(&mut call.r#type, piece.r#type);
    if let Some(function) = piece.function {
        add_function(call.function.get_or_insert_with(FunctionCall::default), function);
    }
    if let Some(custom) = piece.custom {
        let known = call.custom.get_or_insert_with(CustomToolCall::default);
        add_name(&mut known.name, custom.name);
        join(&mut known.input, custom.input);
        known.extra.extend(custom.extra);
    }
    call.extra.extend(piece.extra);
}

/// Whether a piece without an index goes on with this call, rather than beginning the next one.
fn goes_on(call: &ToolCall, piece: &ToolCall) -> bool {
    if let Some(id) = piece.id.as_deref().filter(|id| !id.is_empty()) {
        return call.id.as_deref() == Some(id);
    }
    let names = |call: &ToolCall| call.function.as_ref().is_some_and(|function| function.name.is_some());
    let has_arguments = call.function.as_ref().and_then(|function| function.arguments.as_ref()).is_some();
    !(names(piece) && names(call) && has_arguments)
}

fn add_function(known: &mut FunctionCall, piece: FunctionCall) {
    add_name(&mut known.name, piece.name);
    join(&mut known.arguments, piece.arguments);
    known.extra.extend(piece.extra);
}

fn add_audio(known: &mut Audio, piece: Audio) {
    last(&mut known.id, piece.id);
    last(&mut known.expires_at, piece.expires_at);
    join(&mut known.data, piece.data);
    join(&mut known.transcript, piece.transcript);
    known.extra.extend(piece.extra);
}

/// Some engines repeat the name in every piece, others send it bit by bit.
fn add_name(known: &mut Option<String>, piece: Option<String>) {
    if known.is_none() || *known != piece {
        join(known, piece);
    }
}

fn join(known: &mut Option<String>, piece: Option<String>) {
    match (known, piece) {
        (Some(known), Some(piece)) => known.push_str(&piece),
        (known @ None, piece) => *known = piece,
        (Some(_), None) => {}
    }
}

fn last<T>(known: &mut Option<T>, piece: Option<T>) {
    if piece.is_some() {
        *known = piece;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json;

    /// What these chunks add up to, as JSON.
    fn sum(chunks: &[Value]) -> Value {
        let mut accumulator = ChatAccumulator::default();
        for chunk in chunks {
            accumulator.add(json::decode_answer(chunk.to_string().as_bytes()).unwrap());
        }
        let mut out = Vec::new();
        json::encode_answer(&accumulator.finish(), &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    fn delta(delta: &Value) -> Value {
        json!({"id": "x", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    fn message(deltas: &[Value]) -> Value {
        sum(&deltas.iter().map(delta).collect::<Vec<_>>())["choices"][0]["message"].clone()
    }

    #[test]
    fn text_of_every_kind_is_joined() {
        let message = message(&[
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning": "a", "reasoning_content": "b", "refusal": "c"}),
            json!({"reasoning": "d", "reasoning_content": "e", "refusal": "f", "content": "g"}),
            json!({"content": "h", "new_member": [1]}),
            json!({"new_member": [2]}),
        ]);
        assert_eq!(
            message,
            json!({"role": "assistant", "content": "gh", "reasoning": "ad", "reasoning_content": "be", "refusal": "cf",
                "new_member": [2]})
        );
    }

    #[test]
    fn tool_calls_come_together_by_index_and_by_order_without_one() {
        let expected = json!([
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]);
        let call = |members: Value| json!({ "tool_calls": [members] });
        let by_index = message(&[
            call(json!({"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}})),
            call(json!({"index": 1, "id": "2", "type": "function", "function": {"name": "g"}})),
            call(json!({"index": 0, "function": {"arguments": "{\"a\":"}})),
            call(json!({"index": 1, "function": {"arguments": "{}"}})),
            call(json!({"index": 0, "function": {"arguments": "1}"}})),
        ]);
        assert_eq!(by_index["tool_calls"], expected);
        assert_eq!(by_index["content"], Value::Null);
        let by_id = message(&[
            call(json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}})),
            call(json!({"id": "1", "function": {"name": "f", "arguments": "1"}})),
            call(json!({"function": {"arguments": "}"}})),
            call(json!({"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}})),
        ]);
        assert_eq!(by_id["tool_calls"], expected);
        let by_name = message(&[
            call(json!({"function": {"name": "f", "arguments": "{}"}})),
            call(json!({"function": {"name": "f", "arguments": "{}"}})),
        ]);
        assert_eq!(by_name["tool_calls"].as_array().unwrap().len(), 2);
        let both_at_once = message(&[json!({"tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]})]);
        assert_eq!(both_at_once["tool_calls"], expected);
    }

    #[test]
    fn choices_logprobs_usage_and_unknown_members_add_up() {
        let logprob = |token: &str| json!({"token": token, "logprob": -0.5, "bytes": null, "top_logprobs": []});
        let piece = |index: i32, text: &str| {
            json!({"index": index, "delta": {"content": text}, "finish_reason": null,
                "logprobs": {"content": [logprob(text)], "refusal": null}})
        };
        let chunk = |choices: Value| json!({"id": "x", "created": 7, "model": "m", "choices": choices, "seen": 1});
        let end = |index: i32| json!({"index": index, "delta": {}, "finish_reason": "stop", "stop_reason": index});
        let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
        let mut last = chunk(json!([]));
        last["usage"] = usage.clone();
        last["seen"] = json!(2);
        let sum = sum(&[
            chunk(json!([piece(1, "b")])),
            chunk(json!([piece(0, "a"), piece(1, "c")])),
            chunk(json!([end(1), end(0)])),
            last,
        ]);
        let choice = |index: i32, texts: &[&str]| {
            json!({"index": index, "message": {"role": "assistant", "content": texts.concat(), "refusal": null},
                "finish_reason": "stop", "stop_reason": index,
                "logprobs": {"content": texts.iter().map(|text| logprob(text)).collect::<Vec<_>>(), "refusal": null}})
        };
        assert_eq!(
            sum,
            json!({"id": "x", "object": "chat.completion", "created": 7, "model": "m", "usage": usage, "seen": 2,
                "choices": [choice(0, &["a"]), choice(1, &["b", "c"])]})
        );
    }
}
