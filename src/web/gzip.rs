//! gzip for clients that accept it. One page is kept compressed, so that many scrapes of it cost one compression.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// Bytes below which an answer gains nothing.
const WORTH_IT: usize = 1024;

/// Whether the client takes gzip (RFC 9110, 12.5.3). A weight that is no number counts as 1.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut gzip, mut any) = (None, None);
    for coding in lists.flat_map(|list| list.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = weight.and_then(|weight| weight.parse::<f32>().ok()).is_none_or(|weight| weight > 0.0);
        match name {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => gzip = Some(wanted),
            "*" => any = Some(wanted),
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// A page and the same compressed.
struct Pair {
    plain: Bytes,
    zipped: Bytes,
}

/// The last page that was asked for compressed.
#[derive(Default)]
pub struct Kept {
    pair: Mutex<Option<Pair>>,
}

impl Pair {
    fn is_of(&self, plain: &Bytes) -> bool {
        self.plain.as_ptr() == plain.as_ptr() && self.plain.len() == plain.len()
    }
}

impl Kept {
    /// The page compressed, where that was done and no thread is at it.
    pub fn kept(&self, plain: &Bytes) -> Option<Bytes> {
        let kept = self.pair.try_lock().ok()?;
        kept.as_ref().filter(|pair| pair.is_of(plain)).map(|pair| pair.zipped.clone())
    }

    /// The page compressed; the same bytes again for the same page. It is known by its place in memory,
    /// which cannot be another page's while it is kept.
    pub fn squeezed(&self, plain: &Bytes) -> Option<Bytes> {
        let mut kept = self.pair.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some(pair) if pair.is_of(plain) => Some(pair.zipped.clone()),
            _ => {
                let zipped = squeezed(plain)?;
                *kept = Some(Pair { plain: plain.clone(), zipped: zipped.clone() });
                Some(zipped)
            }
        }
    }
}

/// The bytes compressed, at the fastest level; `None` where that is not worth it.
pub fn squeezed(plain: &[u8]) -> Option<Bytes> {
    if plain.len() < WORTH_IT {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::io::Read;

    use hyper::header::HeaderValue;

    use super::*;

    fn accepts(lists: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(list));
        }
        is_accepted(&headers)
    }

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        for accepted in ["gzip", "deflate, gzip;q=0.5", "br, GZIP", "*", "gzip;q=x", "identity;q=0, *;q=0.1", "x-gzip"]
        {
            assert!(accepts(&[accepted]), "{accepted}");
        }
        for refused in ["", "identity", "gzip;q=0", "gzip; q=0.000", "*, gzip;q=0", "br", "gzipp", ";;,,;q="] {
            assert!(!accepts(&[refused]), "{refused}");
        }
        assert!(accepts(&["br", "gzip"]), "two headers are one list");
        assert!(!accepts(&[]));
    }

    #[test]
    fn a_page_is_compressed_once_and_comes_back_whole() {
        let (kept, page) = (Kept::default(), Bytes::from("metric 1\n".repeat(1000)));
        let zipped = kept.squeezed(&page).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&zipped[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text.as_bytes(), page);
        assert_eq!(kept.squeezed(&page.clone()).unwrap().as_ptr(), zipped.as_ptr());
        let other = Bytes::from("metric 2\n".repeat(1000));
        assert_ne!(kept.squeezed(&other).unwrap(), zipped);
    }

    #[test]
    fn a_short_page_stays_as_it_is() {
        assert_eq!(squeezed(b"ok\n"), None);
    }
}
