//! Where a caller's token is found, and whether it looks like one. Whether it is good is for the coordinators to say.

use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use pvc_identity::ApiToken;

use crate::failure::Failure;

/// How a browser, which can't set headers on a WebSocket, shows its token: as a subprotocol `bearer.<token>`.
pub const SUBPROTOCOL_PREFIX: &str = "bearer.";

/// The token of `Authorization: Bearer <token>`, refused early where it can't be one.
pub fn of_headers(headers: &HeaderMap) -> Result<String, Failure> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Failure::unauthenticated("there is no token"));
    };
    let text =
        value.to_str().map_err(|_| Failure::unauthenticated("the Authorization header is not text"))?;
    let token = match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(Failure::unauthenticated("the Authorization header is not `Bearer <token>`")),
    };
    checked(token)
}

/// Like [`of_headers`], for a WebSocket: the subprotocol `bearer.<token>` serves where there is no header.
pub fn of_websocket(headers: &HeaderMap) -> Result<String, Failure> {
    if headers.contains_key(AUTHORIZATION) {
        return of_headers(headers);
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let token = offered
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(SUBPROTOCOL_PREFIX))
        .ok_or_else(|| Failure::unauthenticated("there is no token"))?;
    checked(token)
}

/// The public part of a token, for logs: `pvct1.k3j9x2ab`.
pub fn public_part(token: &str) -> &str {
    token.rsplit_once('.').map_or("", |(public, _)| public)
}

fn checked(token: &str) -> Result<String, Failure> {
    match token.parse::<ApiToken>() {
        Ok(_) => Ok(token.to_owned()),
        Err(error) => Err(Failure::unauthenticated(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn finds_the_token() {
        let token = ApiToken::generate().expose();
        for value in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token} ")] {
            assert_eq!(of_headers(&headers(&[("authorization", &value)])).unwrap(), token, "{value}");
        }
        let offered = format!("pvc.console, bearer.{token}");
        assert_eq!(of_websocket(&headers(&[("sec-websocket-protocol", &offered)])).unwrap(), token);
        assert_eq!(public_part(&token), &token[..14]);
    }

    #[test]
    fn refuses_what_is_no_token() {
        let token = ApiToken::generate().expose();
        let basic = format!("Basic {token}");
        let good = format!("Bearer {token}");
        for pairs in [
            &[][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer pvct1.short")],
            &[("authorization", "Bearer pvcj1.aaaaaaaa.bbbbbbbbbbbbbbbbbbbbbb")],
            &[("authorization", &basic)],
            &[("authorization", &good), ("authorization", &good)],
        ] {
            assert!(of_headers(&headers(pairs)).is_err(), "{pairs:?} was accepted");
        }
        assert!(of_websocket(&headers(&[("sec-websocket-protocol", "bearer.x")])).is_err());
    }
}
