use super::*;
use crate::config::names::tests::names;

const SET: &str = "SET";

/// The values, the errors and the warnings.
fn read(text: impl AsRef<[u8]>) -> (Vec<(String, String)>, Vec<String>, Vec<String>) {
    let names = names();
    let mut reader = Reader::new(&names, &|name| (name == SET).then(|| "found".to_owned()));
    reader.read(text.as_ref());
    let entries = reader
        .entries
        .into_iter()
        .map(|(name, entry)| (name, entry.value))
        .collect();
    (entries, reader.errors, reader.warnings)
}

#[test]
fn an_unambiguous_value_is_taken_exactly_and_without_a_warning() {
    for (written, value) in [
        ("", ""),
        ("abc", "abc"),
        ("a=b==", "a=b=="),
        ("https://x:1/v1?a=b", "https://x:1/v1?a=b"),
        ("'a $b #c \\d \"e'", "a $b #c \\d \"e"),
        ("'abc' # a comment", "abc"),
        ("\"it's \\\"so\\\" \\$ \\\\ \"", "it's \"so\" $ \\ "),
        ("\"<${SET}>\"", "<found>"),
        ("''", ""),
    ] {
        let (values, errors, warnings) =
            read(format!("\n# a comment\nFEATHERLESS_API_KEY={written}\n"));
        assert_eq!(
            values,
            [("FEATHERLESS_API_KEY".to_owned(), value.to_owned())],
            "{written}"
        );
        assert_eq!((errors, warnings), (vec![], vec![]), "{written}");
    }
}

#[test]
fn an_ambiguous_value_is_an_error_with_line_and_name_and_without_the_value() {
    for written in [
        "secret$x",
        "$secret",
        "secret$",
        "${SET}secret",
        "\"secret$x\"",
        "\"secret${UNSET}\"",
        "\"secret${SET\"",
        "secret\\n",
        "secret'x'",
        "it's-secret",
        "'secret'x",
        "'secret",
        "\"secret",
        "\"secret\\",
        "\"secret\\q\"",
        "secret x",
        "secret\rx",
        "secret\0",
    ] {
        let (values, errors, _) = read(format!("SOME=1\nFEATHERLESS_API_KEY={written}\nOTHER=2"));
        assert_eq!(values.len(), 2, "{written}");
        assert_eq!(errors.len(), 1, "{written}: {errors:?}");
        assert!(
            errors[0].starts_with(".env line 2: FEATHERLESS_API_KEY: "),
            "{written}: {errors:?}"
        );
        assert!(!errors[0].contains("secret"), "{written}: {errors:?}");
    }
    let (_, errors, _) = read("FEATHERLESS_API_KEY=a$b");
    assert!(errors[0].contains("single quotes"), "{errors:?}");
}

#[test]
fn an_invalid_line_is_an_error_that_shows_only_the_name_of_a_variable() {
    for (line, shown) in [
        ("FEATHERWIRE_LISTEN", "FEATHERWIRE_LISTEN: "),
        ("FEATHERWIRE_LISTN", "did you mean FEATHERWIRE_LISTEN?"),
        (
            "FEATHERWIRE_API_KEY S=secret",
            "did you mean FEATHERWIRE_API_KEYS?",
        ),
        ("FEATHERWIRE_API_KEY: secret", "line 3: "),
        ("fl-secret", "line 3: the line has no"),
        ("=secret", "line 3: "),
    ] {
        let (_, errors, _) = read(format!("\n\n{line}\n"));
        assert!(
            errors.len() == 1 && errors[0].contains(shown),
            "{line}: {errors:?}"
        );
        assert!(
            !errors[0].contains("secret") && errors[0].contains(".env line 3: "),
            "{line}: {errors:?}"
        );
    }
}

#[test]
fn a_line_that_other_parsers_read_differently_is_a_warning() {
    for (text, value, shown) in [
        ("FEATHERWIRE_LISTEN=x #y", "x", "the text after `#`"),
        ("FEATHERWIRE_LISTEN=#y", "", "the text after `#`"),
        ("FEATHERWIRE_LISTEN=x#y", "x#y", "`#` is part"),
        ("export FEATHERWIRE_LISTEN=x", "x", "`export`"),
        ("FEATHERWIRE_LISTEN = x", "x", "spaces around"),
        ("FEATHERWIRE_LISTEN=x\r", "x", "CR LF"),
        (
            "FEATHERWIRE_LISTEN=x\nFEATHERWIRE_LISTEN=y",
            "x",
            "already set in line 1",
        ),
    ] {
        let (values, errors, warnings) = read(text);
        assert_eq!(
            values,
            [("FEATHERWIRE_LISTEN".to_owned(), value.to_owned())],
            "{text:?}"
        );
        assert_eq!(
            (errors.len(), warnings.len()),
            (0, 1),
            "{text:?}: {warnings:?}"
        );
        assert!(
            warnings[0].contains("FEATHERWIRE_LISTEN: ") && warnings[0].contains(shown),
            "{warnings:?}"
        );
    }
    let (values, errors, warnings) = read("\u{feff}FEATHERWIRE_LISTEN=x\r\nSOME=1\r\n");
    assert_eq!(
        (values.len(), errors.len(), warnings.len()),
        (2, 0, 2),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .all(|warning| warning.starts_with(".env line 1: ")),
        "{warnings:?}"
    );
}

#[test]
fn bytes_that_are_not_text_are_an_error_with_the_line() {
    let (_, errors, _) = read(b"SOME=1\nFEATHERWIRE_LISTEN=\xff\n");
    assert!(
        errors[0].starts_with(".env line 2: FEATHERWIRE_LISTEN: the line is not UTF-8"),
        "{errors:?}"
    );
    let (_, errors, _) = read(b"\xff\xfeF\0E\0");
    assert!(errors[0].contains("UTF-16"), "{errors:?}");
}

#[test]
fn an_ambiguous_variable_of_another_program_is_only_a_warning() {
    let (values, errors, warnings) =
        read("PEM=\"one\ntwo\"\nTITLE=My App\nPLAIN=a#b\nPRICE=5$\nLAST=1");
    let names: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["LAST", "PEM", "PLAIN"]);
    assert!(values.contains(&("PEM".to_owned(), "one\ntwo".to_owned())));
    assert_eq!((errors, warnings.len()), (vec![], 2), "{warnings:?}");
    assert!(
        warnings[0].contains("line 3: TITLE: ") && warnings[0].contains("ignored"),
        "{warnings:?}"
    );
    let (values, errors, _) = read("PEM='one\ntwo\nFEATHERWIRE_LISTEN=x\n");
    assert!(
        errors.len() == 1 && errors[0].contains("line 1: PEM: "),
        "{errors:?}"
    );
    assert_eq!(
        values.len(),
        1,
        "an unclosed quote must not include a line of a variable of Featherwire"
    );
}
