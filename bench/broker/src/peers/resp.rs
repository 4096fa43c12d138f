//! The protocol of Redis, as a stream of tokens.

use bench_harness::Failure;

/// One of its elements; arrays say how many follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Array(i64),
    Bulk(&'a [u8]),
    Integer,
    Simple,
    Null,
}

/// The first token and its bytes; `None` when it is not all there.
#[inline]
pub(super) fn token(input: &[u8]) -> Result<Option<(Token<'_>, usize)>, Failure> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return Ok(None);
    };
    let line = &input[..end - 1];
    let after = end + 1;
    Ok(Some(match line[0] {
        b'*' => (Token::Array(number(&line[1..])), after),
        b':' => (Token::Integer, after),
        b'+' => (Token::Simple, after),
        b'$' => match number(&line[1..]) {
            -1 => (Token::Null, after),
            len => {
                let len = len as usize;
                if input.len() < after + len + 2 {
                    return Ok(None);
                }
                (Token::Bulk(&input[after..after + len]), after + len + 2)
            }
        },
        _ => return Err(format!("Redis says: {}", String::from_utf8_lossy(line))),
    }))
}

#[inline]
fn number(digits: &[u8]) -> i64 {
    if digits.first() == Some(&b'-') {
        return -1;
    }
    digits
        .iter()
        .fold(0, |number, byte| number * 10 + i64::from(byte - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart_and_waited_for() {
        assert_eq!(token(b"*3\r\n").unwrap(), Some((Token::Array(3), 4)));
        assert_eq!(
            token(b"$2\r\nab\r\n:1\r\n").unwrap(),
            Some((Token::Bulk(b"ab"), 8))
        );
        assert_eq!(token(b"$2\r\nab\r").unwrap(), None);
        assert_eq!(token(b"$-1\r\n").unwrap(), Some((Token::Null, 5)));
        assert!(token(b"-ERR unknown\r\n").is_err());
    }
}
