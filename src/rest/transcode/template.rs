//! The template of a path, such as `/admin/v1/keys/{id}:rotate`.

use percent_encoding::percent_decode_str;

/// A part between two slashes.
#[derive(Debug, PartialEq, Eq)]
enum Segment {
    /// This text.
    Literal(String),
    /// The value of the field with this name.
    Field(String),
}

/// The template of a path.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// What follows the last segment, with its colon. Empty if nothing does.
    verb: String,
}

impl Template {
    /// The template with this text. `None` for a form that this gateway does not use.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let path = text.strip_prefix('/')?;
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        let colon = path.get(last..)?.rfind(':').map(|colon| last + colon);
        let (path, verb) = path.split_at_checked(colon.unwrap_or(path.len()))?;
        let segment = |segment: &str| {
            let field = segment
                .strip_prefix('{')
                .and_then(|it| it.strip_suffix('}'));
            match field {
                Some(field) if field.contains('=') => None,
                Some(field) => Some(Segment::Field(field.to_owned())),
                None if segment.is_empty() || segment.contains(['*', '{']) => None,
                None => Some(Segment::Literal(segment.to_owned())),
            }
        };
        Some(Self {
            segments: path.split('/').map(segment).collect::<Option<_>>()?,
            verb: verb.to_owned(),
        })
    }

    /// The values of the fields in `path`, by their names. `None` if it is another path.
    pub(super) fn values(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let path = path.strip_prefix('/')?.strip_suffix(self.verb.as_str())?;
        let mut parts = path.split('/');
        let mut values = Vec::new();
        for segment in &self.segments {
            let part = parts.next()?;
            match segment {
                Segment::Literal(text) if text == part => {}
                Segment::Literal(_) => return None,
                // What follows a colon is the name of another method.
                Segment::Field(_) if part.is_empty() || part.contains(':') => return None,
                Segment::Field(name) => {
                    let value = percent_decode_str(part).decode_utf8().ok()?;
                    values.push((name.as_str(), value.into_owned()));
                }
            }
        }
        parts.next().is_none().then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_values_of_its_template() {
        let values = |template: &str, path: &str| {
            let template = Template::parse(template).unwrap();
            let values = template.values(path)?.into_iter();
            Some(values.map(|(_, value)| value).collect::<Vec<_>>())
        };
        let one = |value: &str| Some(vec![value.to_owned()]);
        assert_eq!(values("/a/keys", "/a/keys"), Some(vec![]));
        assert_eq!(values("/a/keys/{id}", "/a/keys/5%20x"), one("5 x"));
        assert_eq!(values("/a/keys/{id}:rotate", "/a/keys/5:rotate"), one("5"));
        for (template, path) in [
            ("/a/keys", "/a/keys/"),
            ("/a/keys", "/a"),
            ("/a/keys/{id}", "/a/keys/"),
            ("/a/keys/{id}", "/a/keys/5/6"),
            ("/a/keys/{id}", "/a/keys/5:rotate"),
            ("/a/keys/{id}:rotate", "/a/keys/5"),
            ("/a/keys/{id}", "/a/keys/%ff"),
            ("/a/calls:export", "/a/calls"),
        ] {
            assert_eq!(values(template, path), None, "{template} {path}");
        }
        for bad in ["", "a", "/", "/a//b", "/a/{b=*/*}", "/a/*"] {
            assert!(Template::parse(bad).is_none(), "{bad}");
        }
    }
}
