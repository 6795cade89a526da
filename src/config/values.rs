//! Values that a configuration may hold: what is right, and what is said of what is not. Pure.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::configuration::MetricsUrl;
use super::reader::{Reading, kind, wrong};
use super::suggest::nearest;
use super::units;

/// The longest path of a socket: sun_path has 108 bytes with its NUL.
pub(super) const SOCKET_PATH: usize = 107;
/// Where metrics are under a URL, if that is not configured.
pub(super) const METRICS_PATH: &str = "/metrics";

/// Text that is not empty and holds no NUL.
pub(super) fn text(value: &DeValue<'_>) -> Reading<String> {
    let text = any_text(value)?;
    if text.is_empty() {
        return wrong("is empty", "write its value, or leave the key out");
    }
    Ok(text)
}

/// Text without NUL, perhaps empty.
pub(super) fn any_text(value: &DeValue<'_>) -> Reading<String> {
    match value.as_str() {
        Some(text) if text.contains('\0') => wrong("holds a NUL character", "take it out"),
        Some(text) => Ok(text.to_owned()),
        None => wrong(format!("is {}, not a string", kind(value)), "write it in quotes"),
    }
}

/// `[A-Za-z0-9._-]{1,64}`, but for `.` and `..`: it becomes a label, a file and a directory.
pub(super) fn name(value: &DeValue<'_>) -> Reading<String> {
    let name = text(value)?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.len() > 64 || !name.chars().all(fine) || name.chars().all(|c| c == '.') {
        return wrong(format!("is not a name: {name:?}"), "1 to 64 of A-Z a-z 0-9 . _ -");
    }
    Ok(name)
}

/// One of some words.
pub(super) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Reading<T> {
    let text = any_text(value)?;
    if let Some((_, word)) = words.iter().find(|(known, _)| *known == text) {
        return Ok(*word);
    }
    let hint = match nearest(&text, words.iter().map(|(known, _)| *known)) {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => words.iter().map(|(known, _)| format!("\"{known}\"")).collect::<Vec<_>>().join(" or "),
    };
    wrong(format!("can't be {text:?}"), hint)
}

/// A duration.
pub(super) fn duration(value: &DeValue<'_>) -> Reading<Duration> {
    match value.as_str().and_then(units::duration) {
        Some(length) => Ok(length),
        None => wrong(format!("is not a duration: {}", written(value)), units::DURATION_HINT),
    }
}

/// A duration over zero.
pub(super) fn some_duration(value: &DeValue<'_>) -> Reading<Duration> {
    match duration(value)? {
        Duration::ZERO => wrong("is zero", "at least 1ms"),
        length => Ok(length),
    }
}

/// A size in bytes, of 1 MiB at least: less is a mistake in the unit.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other kind of value is wrong")]
pub(super) fn size(value: &DeValue<'_>) -> Reading<u64> {
    let bytes = match value {
        DeValue::Integer(_) => integer(value).and_then(|number| u64::try_from(number).ok()),
        _ => value.as_str().and_then(units::size),
    };
    match bytes {
        Some(bytes) if bytes >= 1 << 20 => Ok(bytes),
        Some(bytes) => wrong(format!("is only {bytes} bytes"), "at least 1MiB"),
        None => wrong(format!("is not a size: {}", written(value)), units::SIZE_HINT),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn count(value: &DeValue<'_>, least: u32, most: u32) -> Reading<u32> {
    match integer(value).and_then(|number| u32::try_from(number).ok()) {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => wrong(format!("can't be {}", written(value)), format!("a whole number from {least} to {most}")),
    }
}

/// A number for which `fine` holds; `range` says so in words.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other kind of value is wrong")]
pub(super) fn number(value: &DeValue<'_>, range: &str, fine: impl Fn(f64) -> bool) -> Reading<f64> {
    let number = match value {
        DeValue::Integer(_) => integer(value).map(|number| number as f64),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if fine(number) => Ok(number),
        _ => wrong(format!("can't be {}", written(value)), range),
    }
}

/// An integer, if it is one and fits.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// An absolute path without `..`.
pub(super) fn path(value: &DeValue<'_>) -> Reading<PathBuf> {
    let text = text(value)?;
    let path = Path::new(&text);
    if !path.is_absolute() {
        return wrong(format!("is not an absolute path: {text:?}"), "begin it with /");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return wrong(format!("goes up by `..`: {text:?}"), "write the path that it means");
    }
    Ok(path.components().collect())
}

/// A program: a bare name, to be found on PATH, or an absolute path.
pub(super) fn program(value: &DeValue<'_>) -> Reading<PathBuf> {
    let text = text(value)?;
    match text.contains('/') {
        true => path(value),
        false => Ok(PathBuf::from(text)),
    }
}

/// True or false.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other kind of value is wrong")]
pub(super) fn boolean(value: &DeValue<'_>) -> Reading<bool> {
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        _ => wrong(format!("is {}, not true or false", kind(value)), "write it without quotes"),
    }
}

/// `http://host:port` or `https://host:port`, a slash at its end forgiven, or `unix:/absolute/path`.
pub(super) fn url(value: &DeValue<'_>) -> Reading<String> {
    let text = text(value)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path);
    }
    let url = text.strip_suffix('/').unwrap_or(&text);
    match host_of(url).and_then(authority) {
        Some(_) => Ok(url.to_owned()),
        None => wrong(
            format!("is not http://host:port, https://host:port or unix:/path: {text:?}"),
            "paths go in health_path and metrics_path",
        ),
    }
}

/// What follows `http://` or `https://`.
pub(super) fn host_of(url: &str) -> Option<&str> {
    url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))
}

/// The URL of a unix socket.
fn socket(path: &str) -> Reading<String> {
    let at = Path::new(path);
    if !at.is_absolute() || at.components().any(|part| part == Component::ParentDir) {
        return wrong(format!("is not the absolute path of a socket: {path:?}"), "unix:/run/engine.sock");
    }
    let path = at.components().collect::<PathBuf>();
    match path.as_os_str().len() {
        length if length > SOCKET_PATH => {
            wrong(format!("has a path of {length} bytes, {SOCKET_PATH} at most"), "choose a shorter one")
        }
        _ => Ok(format!("unix:{}", path.display())),
    }
}

/// A URL with a path, `/metrics` where it has none, or `none`.
pub(super) fn metrics_url(value: &DeValue<'_>) -> Reading<MetricsUrl> {
    let text = text(value)?;
    if text == "none" {
        return Ok(MetricsUrl::Nowhere);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(MetricsUrl::At(socket(path)?, METRICS_PATH.to_owned()));
    }
    let parts =
        host_of(&text).map(|rest| text.split_at(text.len() - rest.len() + rest.find('/').unwrap_or(rest.len())));
    match parts {
        Some((url, path)) if host_of(url).and_then(authority).is_some() && (path.is_empty() || is_url_path(path)) => {
            let path = if path.len() < 2 { METRICS_PATH } else { path };
            Ok(MetricsUrl::At(url.to_owned(), path.to_owned()))
        }
        _ => wrong(format!("is not http://host:port/path: {text:?}"), "or \"none\", for an engine without metrics"),
    }
}

/// Host and port of `host:port`, `[v6]:port` too.
pub(super) fn authority(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok())??;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fine = match bracketed {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
    };
    (fine && port > 0).then_some((host, port))
}

/// Path of a URL, the part after `http://host:port`.
pub(super) fn url_path(value: &DeValue<'_>) -> Reading<String> {
    let text = text(value)?;
    match is_url_path(&text) {
        true => Ok(text),
        false => wrong(format!("is not a path of a URL: {text:?}"), "begin it with /"),
    }
}

fn is_url_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// `127.0.0.1:10677`, `[::1]:10677`; `:10677` means every IPv4 address.
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}").parse().ok(),
        None => text.parse().ok(),
    }
}

/// A value as it was written, cut to a length that a line bears.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other kind of value is wrong")]
fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        other => kind(other).to_owned(),
    }
}
