//! What a next hop replies. An input is what it sends, cuts included.

use relay_mail::reply::Reply;
use relay_smtp::client::{ReplyError, ReplyParser};
use relay_smtp::limits::CLIENT_REPLY_KEPT_OCTETS;
use relay_smtp::limits::CLIENT_REPLY_LINES;

use super::pieces::{pieces, whole};

/// Replies, until one that is none.
type Replies = (Vec<Reply>, Option<ReplyError>);

/// See the module.
pub fn check(input: &[u8]) {
    let stream = whole(input);
    let replies = read(pieces(input));
    assert_eq!(replies, read([&stream[..]].into_iter()), "cuts do not matter");
    assert_eq!(replies, read(stream.chunks(1)), "cuts do not matter");
    replies.0.iter().for_each(check_reply);
}

/// The replies in these pieces.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Replies {
    let mut parser = ReplyParser::default();
    let mut replies = Vec::new();
    for mut piece in pieces {
        loop {
            match parser.parse(&mut piece) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (replies, None)
}

fn check_reply(reply: &Reply) {
    assert!((200..600).contains(&reply.code));
    assert!(reply.text.split('\n').count() <= CLIENT_REPLY_LINES);
    // An octet that is not printable takes six in its place.
    let most = 7 * CLIENT_REPLY_KEPT_OCTETS + CLIENT_REPLY_LINES;
    assert!(reply.text.len() <= most);
    assert!(reply.text.chars().all(|c| c == '\n' || relay_mail::printable::is_printable(c)));
    assert_eq!(reply.is_positive(), reply.code < 400);
    assert!(!reply.to_string().contains(['\r', '\n']), "a log has one line of it");
    // What we would tell somebody else with the same words is one reply and says the same.
    let mut written = Vec::new();
    reply.encode(&mut written);
    let (again, error) = read([&written[..]].into_iter());
    let [again] = &again[..] else { panic!("{again:?} {error:?}") };
    assert_eq!((again.code, again.enhanced, error), (reply.code, reply.enhanced, None));
}
