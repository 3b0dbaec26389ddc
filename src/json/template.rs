//! Templates: messages that differ from an earlier message only in one text, as most chunks of a
//! stream do.
//!
//! A [`TemplateReader`] decodes such a message once, and keeps the bytes before and after the text.
//! A later message with the same bytes around its text is the same message with another text: a
//! [`Chunk`] with only this text in it. A [`TemplateWriter`] does the same in the other direction.
//! Both are shortcuts to the same result: a message that does not match is decoded or encoded in
//! full.
//!
//! Nothing is lost, because a template is verified before it is used. The text stands between two
//! quotes, and the same bytes with another text are decoded to (or encoded from) the same message
//! with the other text. So the bytes between the quotes are exactly that string, and every string
//! without escapes can stand there.

use std::sync::Arc;

use memchr::memmem;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    decode::decode_answer, encode::encode_answer, error::JsonError, single_text::SingleText,
};

/// How many templates of one stream may be useless. If all chunks of a stream differ in more than
/// their text, they are decoded in full after that.
const LEARNS_MAX: u8 = 4;

/// After this number of matches a template has saved more than it cost, and the stream may have one
/// more. Some engines change a member every second.
const HITS_PER_LEARN: u8 = 16;

/// The longest message that a template may match, in bytes. Longer messages are rare, and are
/// decoded on another thread.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// A message of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk<M> {
    /// A complete message.
    Message(Box<M>),
    /// A message that differs from an earlier one only in its text.
    Repeat(Repeat<M>),
}

/// A message that differs from an earlier one only in its text. It costs neither a copy of the
/// other fields, nor a comparison with the earlier message when it is encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat<M> {
    /// The earlier message, with an empty text.
    like: Arc<M>,
    /// The number of the text's field.
    field: u8,
    /// The text, which is not empty.
    text: String,
}

/// Decodes the messages of one stream.
#[derive(Debug)]
pub(crate) struct TemplateReader<M> {
    known: Option<Template<Arc<M>>>,
    /// The number of the text's field in the template.
    field: u8,
    budget: Budget,
}

/// Encodes the messages of one stream.
#[derive(Debug)]
pub(crate) struct TemplateWriter<M> {
    known: Option<Written<M>>,
    budget: Budget,
}

/// A message, and its JSON before and after the text.
#[derive(Debug)]
struct Template<M> {
    message: M,
    before: Box<[u8]>,
    after: Box<[u8]>,
}

/// A template for encoding. Its message has an empty text.
#[derive(Debug)]
struct Written<M> {
    template: Template<M>,
    /// The number of the text's field.
    field: u8,
    /// The message that this template encodes with any text. Set with the first [`Repeat`] of it:
    /// later ones are recognised by this pointer.
    like: Option<Arc<M>>,
}

/// How many more templates a stream may have.
#[derive(Debug)]
struct Budget {
    learns: u8,
    hits: u8,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            learns: LEARNS_MAX,
            hits: 0,
        }
    }
}

impl Budget {
    fn hit(&mut self) {
        self.hits += 1;
        if self.hits == HITS_PER_LEARN {
            self.hits = 0;
            self.learns = (self.learns + 1).min(LEARNS_MAX);
        }
    }

    fn learn(&mut self) {
        self.learns = self.learns.saturating_sub(1);
        self.hits = 0;
    }
}

impl<M> From<M> for Chunk<M> {
    fn from(message: M) -> Self {
        Self::Message(Box::new(message))
    }
}

impl<M: SingleText> Chunk<M> {
    /// The message, if it is a complete one.
    pub fn complete(&self) -> Option<&M> {
        match self {
            Self::Message(message) => Some(message),
            Self::Repeat(_) => None,
        }
    }

    /// The message, to look at everything but its text.
    pub fn without_text(&self) -> &M {
        match self {
            Self::Message(message) => message,
            Self::Repeat(repeat) => &repeat.like,
        }
    }

    /// The length of the text in which the messages of a stream usually differ.
    pub fn text_bytes(&mut self) -> usize {
        match self {
            Self::Message(message) => message.text().map_or(0, |(_, text)| text.len()),
            Self::Repeat(repeat) => repeat.text.len(),
        }
    }

    /// The message.
    pub fn into_message(self) -> M {
        match self {
            Self::Message(message) => *message,
            Self::Repeat(Repeat { like, field, text }) => {
                let mut message = M::clone(&like);
                if let Some(place) = message.field(field) {
                    *place = text;
                }
                message
            }
        }
    }
}

impl<M> Repeat<M> {
    /// The earlier message. Its text is empty.
    pub(crate) fn like(&self) -> &M {
        &self.like
    }
}

/// Completes the [`Repeat`]s of one stream, without a copy of their earlier message for each.
#[derive(Debug)]
pub(crate) struct RepeatBuffer<M>(Option<Completed<M>>);

/// A message that was completed with a text.
#[derive(Debug)]
struct Completed<M> {
    like: Arc<M>,
    field: u8,
    message: M,
}

impl<M> Default for RepeatBuffer<M> {
    fn default() -> Self {
        Self(None)
    }
}

impl<M: SingleText> RepeatBuffer<M> {
    /// The complete message of `repeat`.
    pub(crate) fn complete(&mut self, repeat: Repeat<M>) -> &M {
        let Repeat { like, field, text } = repeat;
        let known = self.0.take();
        let same = known.filter(|known| known.field == field && Arc::ptr_eq(&known.like, &like));
        let completed = self.0.insert(same.unwrap_or_else(|| Completed {
            message: M::clone(&like),
            like,
            field,
        }));
        if let Some(place) = completed.message.field(field) {
            *place = text;
        }
        &completed.message
    }
}

impl<M> Default for TemplateReader<M> {
    fn default() -> Self {
        Self {
            known: None,
            field: 0,
            budget: Budget::default(),
        }
    }
}

impl<M> Default for TemplateWriter<M> {
    fn default() -> Self {
        Self {
            known: None,
            budget: Budget::default(),
        }
    }
}

impl<M: SingleText> TemplateReader<M> {
    /// The message that `json` encodes, if it matches the template.
    pub(crate) fn read(&mut self, json: &[u8]) -> Option<Repeat<M>> {
        let known = self.known.as_ref()?;
        let text = json
            .strip_prefix(&*known.before)?
            .strip_suffix(&*known.after)?;
        if text.is_empty() || json.len() > MESSAGE_BYTES_MAX || !is_plain(text) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.to_owned();
        let like = Arc::clone(&known.message);
        self.budget.hit();
        let field = self.field;
        Some(Repeat { like, field, text })
    }

    /// Whether a template may be made of this message.
    pub(crate) fn is_learning(&self, message: &mut M) -> bool {
        self.budget.learns > 0
            && message
                .text()
                .is_some_and(|(_, text)| is_plain(text.as_bytes()))
    }

    /// Makes a template of a message that did not match. `decoded` is what `json` was decoded to.
    /// `message` is what the caller made of it, and what a match returns with its own text.
    pub(crate) fn learn(&mut self, json: &[u8], mut decoded: M, mut message: M)
    where
        M: DeserializeOwned,
    {
        self.budget.learn();
        self.known = None;
        let Some((_, text)) = decoded.text() else {
            return;
        };
        let Some((before, after)) = around(json, text) else {
            return;
        };
        text.push('.');
        let other = [before, text.as_bytes(), after].concat();
        if other.len() <= MESSAGE_BYTES_MAX
            && decode_answer(&other).is_ok_and(|other: M| other == decoded)
            && let Some((field, place)) = message.text()
        {
            place.clear();
            self.field = field;
            self.known = Some(Template {
                message: Arc::new(message),
                before: before.into(),
                after: after.into(),
            });
        }
    }
}

impl<M: SingleText + Serialize> TemplateWriter<M> {
    /// Encodes a message to the end of `out`.
    ///
    /// # Errors
    /// Those of [`encode_answer`].
    pub(crate) fn write(&mut self, chunk: Chunk<M>, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let repeat = match chunk {
            Chunk::Message(mut message) => return self.write_message(&mut message, out).map(drop),
            Chunk::Repeat(repeat) => repeat,
        };
        let encodes = |like: &Arc<M>| Arc::ptr_eq(like, &repeat.like);
        if let Some(known) = &self.known
            && known.like.as_ref().is_some_and(encodes)
        {
            self.budget.hit();
            return known.template.write(&repeat.text, out);
        }
        let like = Arc::clone(&repeat.like);
        let is_known = self.write_message(&mut Chunk::Repeat(repeat).into_message(), out)?;
        if let Some(known) = self.known.as_mut().filter(|_| is_known) {
            known.like = Some(like);
        }
        Ok(())
    }

    /// Encodes a complete message. It may take the text out of it. Returns whether the template
    /// encodes this message with any text.
    fn write_message(&mut self, message: &mut M, out: &mut Vec<u8>) -> Result<bool, JsonError> {
        let Some((field, place)) = message.text() else {
            return encode_answer(message, out).map(|()| false);
        };
        let text = std::mem::take(place);
        if let Some(known) = &self.known
            && known.field == field
            && known.template.message == *message
        {
            self.budget.hit();
            return known.template.write(&text, out).map(|()| true);
        }
        let empty = (self.budget.learns > 0).then(|| message.clone());
        if let Some(place) = message.field(field) {
            *place = text;
        }
        let begins_at = out.len();
        encode_answer(message, out)?;
        let Some(empty) = empty else { return Ok(false) };
        self.budget.learn();
        let written = out.get(begins_at..).unwrap_or_default();
        let template = template(written, message, empty);
        self.known = template.map(|template| Written {
            template,
            field,
            like: None,
        });
        Ok(self.known.is_some())
    }
}

impl<M> Template<M> {
    /// Writes the JSON with this text.
    fn write(&self, text: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
        out.extend_from_slice(&self.before);
        encode_answer(&text, out)?;
        out.extend_from_slice(&self.after);
        Ok(())
    }
}

/// The template of `message`, which was encoded to `written`. `empty` is the same message without
/// its text. `None` if the text does not stand in the JSON as it is.
fn template<M: SingleText + Serialize>(
    written: &[u8],
    message: &mut M,
    empty: M,
) -> Option<Template<M>> {
    let mut other = message.clone();
    let (_, text) = message.text()?;
    let (_, place) = other.text()?;
    let (before, after) = around(written, text).filter(|_| is_plain(text.as_bytes()))?;
    place.push('.');
    let expected = [before, place.as_bytes(), after].concat();
    let mut out = Vec::with_capacity(expected.len());
    encode_answer(&other, &mut out).ok()?;
    if expected.len() > MESSAGE_BYTES_MAX || out != expected {
        return None;
    }
    Some(Template {
        message: empty,
        before: before.strip_suffix(b"\"")?.into(),
        after: after.strip_prefix(b"\"")?.into(),
    })
}

/// The JSON before and after the text, each with one of the quotes. `None` if the text is not in
/// the JSON, or is there more than once.
fn around<'a>(json: &'a [u8], text: &str) -> Option<(&'a [u8], &'a [u8])> {
    let quoted = [b"\"", text.as_bytes(), b"\""].concat();
    let at = memmem::find(json, &quoted)?;
    if memmem::rfind(json, &quoted) != Some(at) {
        return None;
    }
    let (before, after) = json.split_at_checked(at + 1)?;
    Some((before, after.get(text.len()..)?))
}

/// Whether JSON has this text as it is, without escapes.
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .all(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests;
