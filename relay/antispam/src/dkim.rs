//! Is a signature valid (RFC 6376)? And with this result, does DMARC pass?
//!
//! Only the header section is kept in memory. The body is hashed while it is read from the queue,
//! and not read if there is no signature.

use crate::dmarc;
use crate::limits::{DKIM_SIGNATURES, DKIM_SIGNED_FIELDS, DKIM_WAIT};
use mail_auth::common::crypto::{Algorithm, HashAlgorithm, HashContext, HashImpl, Sha256};
use mail_auth::dkim::DkimError;
use mail_auth::dkim::canonicalize::BodyHasher;
use mail_auth::{AuthenticatedMessage, DkimOutput, Error};
use relay_dns::{Dns, DnsCache};
use relay_mail::store_error::StoreError;
use relay_message::author;
use relay_message::finding::{DkimFinding, DkimResult, DkimSignature, DmarcFinding};
use relay_message::header::{Collected, HeaderCollector, HeaderSection};
use relay_message::question::MessageQuestion;
use relay_queue::{Incoming, IncomingReader};
use tokio::time::timeout;

/// Verifies the signatures of a message, and evaluates DMARC if requested.
pub(super) async fn ask(
    dns: &Dns,
    question: &MessageQuestion,
    message: &Incoming,
) -> (Option<DkimFinding>, Option<DmarcFinding>) {
    let unavailable = |why: &str| {
        let found = question.unavailable(why);
        (found.dkim, found.dmarc)
    };
    match timeout(DKIM_WAIT, verify(dns, question, message.reader())).await {
        Ok(Ok((dkim, dmarc))) => (Some(dkim), dmarc),
        Ok(Err(error)) => unavailable(&error.to_string()),
        Err(_) => unavailable("no answer in time"),
    }
}

async fn verify(
    dns: &Dns,
    question: &MessageQuestion,
    mut reader: IncomingReader,
) -> Result<(DkimFinding, Option<DmarcFinding>), StoreError> {
    let (section, body) = header(&mut reader).await?;
    let octets = [section.octets(), b"\r\n"].concat();
    // The header section is never empty, because it has our trace field.
    let mut message = AuthenticatedMessage::parse(&octets).unwrap_or_default();
    let mut signatures = set_aside(&mut message);
    hash_body(&mut message, body, &mut reader).await?;
    let (answers, of_message) = (DnsCache::default(), &message);
    let evaluated = dns.evaluate(&answers, |server, answers| {
        let evaluation = server.verify_dkim(answers.parameters(of_message));
        async move {
            let outputs = evaluation.await;
            let lacks_answer = |output: &DkimOutput<'_>| {
                matches!(output.result(), mail_auth::DkimResult::TempError(_))
            };
            if outputs.iter().any(lacks_answer) { Err(outputs) } else { Ok(outputs) }
        }
    });
    let outputs = evaluated.await.unwrap_or_else(|mut all| all.pop().unwrap_or_default());
    signatures.splice(0..0, outputs.iter().map(signature));
    let dmarc = if question.dmarc {
        let (from, spf) = (author::from(&section), question.spf.as_ref());
        Some(dmarc::ask(dns, &answers, from, &outputs, spf).await)
    } else {
        None
    };
    Ok((DkimFinding::Checked(signatures), dmarc))
}

/// The header section, and the first part of the body.
async fn header(reader: &mut IncomingReader) -> Result<(HeaderSection, Vec<u8>), StoreError> {
    // The session has bounded the section already, by the connector's `max_header_size`.
    let mut collector = HeaderCollector::new(u64::MAX);
    loop {
        let collected = match reader.next().await? {
            Some(piece) => collector.push(&piece),
            None => collector.finish(),
        };
        match collected {
            Collected::Incomplete => {}
            Collected::Complete { section, body, .. } => {
                // The stored message has the empty line, which belongs to neither.
                return Ok((section, body.get(2..).unwrap_or_default().to_vec()));
            }
            Collected::TooLarge { .. } => return Ok((HeaderSection::default(), Vec::new())),
        }
    }
}

/// Removes signatures that are not verified, with the reason. Each other signature costs DNS
/// queries and computation, and the client chooses their number.
fn set_aside(message: &mut AuthenticatedMessage<'_>) -> Vec<DkimSignature> {
    let mut aside = Vec::new();
    let policy = |domain: &str, selector: &str, why: String| DkimSignature {
        result: DkimResult::Policy,
        domain: domain.to_owned(),
        selector: selector.to_owned(),
        why: Some(why),
    };
    let surplus = message.dkim_headers.len().saturating_sub(DKIM_SIGNATURES);
    if surplus > 0 {
        aside.push(policy("", "", format!("{surplus} signatures beyond {DKIM_SIGNATURES}")));
        message.dkim_headers.truncate(DKIM_SIGNATURES);
    }
    message.errors.truncate(DKIM_SIGNATURES);
    message.dkim_headers.retain_mut(|header| {
        let signature = &mut header.header;
        // A report to the signer would need another query, and we send no reports.
        signature.r = false;
        let why = if signature.a == Algorithm::RsaSha1 {
            "rsa-sha1 is not accepted (RFC 8301)".to_owned()
        } else if signature.h.len() > DKIM_SIGNED_FIELDS {
            format!("it signs {} fields", signature.h.len())
        } else {
            return true;
        };
        aside.push(policy(&signature.d, &signature.s, why));
        false
    });
    aside
}

/// Replaces the hashes of the empty body by those of the real body.
async fn hash_body(
    message: &mut AuthenticatedMessage<'_>,
    read: Vec<u8>,
    reader: &mut IncomingReader,
) -> Result<(), StoreError> {
    // The parser has removed signatures of a part of the body, and `set_aside` those with SHA-1.
    let mut hashers: Vec<_> = message
        .body_hashes
        .iter_mut()
        .filter(|(_, algorithm, ..)| *algorithm == HashAlgorithm::Sha256)
        .map(|(canonicalization, _, _, hash)| {
            (BodyHasher::new(Sha256::hasher(), *canonicalization, 0), hash)
        })
        .collect();
    if hashers.is_empty() {
        return Ok(());
    }
    hashers.iter_mut().for_each(|(hasher, _)| hasher.write(&read));
    drop(read);
    while let Some(piece) = reader.next().await? {
        hashers.iter_mut().for_each(|(hasher, _)| hasher.write(&piece));
    }
    for (hasher, hash) in hashers {
        let (context, _) = hasher.finish();
        *hash = context.complete().as_ref().to_vec();
    }
    Ok(())
}

fn signature(output: &DkimOutput<'_>) -> DkimSignature {
    let (result, error) = match output.result() {
        mail_auth::DkimResult::Pass => (DkimResult::Pass, None),
        // RFC 8601 section 2.7.1: a changed body is a failure, and a signature of a part of the
        // body is one that we do not accept.
        mail_auth::DkimResult::Neutral(error @ Error::Dkim(DkimError::FailedBodyHashMatch))
        | mail_auth::DkimResult::Fail(error) => (DkimResult::Fail, Some(error)),
        mail_auth::DkimResult::Neutral(error @ Error::Dkim(DkimError::SignatureLength)) => {
            (DkimResult::Policy, Some(error))
        }
        mail_auth::DkimResult::Neutral(error) => (DkimResult::Neutral, Some(error)),
        mail_auth::DkimResult::PermError(error) => (DkimResult::PermError, Some(error)),
        mail_auth::DkimResult::TempError(error) => (DkimResult::TempError, Some(error)),
        mail_auth::DkimResult::None => (DkimResult::Neutral, None),
    };
    let named = output.signature();
    DkimSignature {
        result,
        domain: named.map(|signature| signature.d.clone()).unwrap_or_default(),
        selector: named.map(|signature| signature.s.clone()).unwrap_or_default(),
        why: error.map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use crate::dkim::*;

    /// A field of a signature that is not verified.
    fn field(algorithm: &str, fields: &str, more: &str) -> String {
        format!(
            "DKIM-Signature: v=1; a={algorithm}; d=signer.example; s=s1; h={fields};{more}\r\n \
             bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
        )
    }

    /// The number of the remaining signatures, and the reasons for the removal of the others.
    fn aside(fields: &str) -> (usize, Vec<String>) {
        let octets = format!("{fields}From: a@author.example\r\n\r\n");
        let mut message = AuthenticatedMessage::parse(octets.as_bytes()).unwrap();
        let aside = set_aside(&mut message);
        assert!(aside.iter().all(|signature| signature.result == DkimResult::Policy));
        let why = aside.into_iter().filter_map(|signature| signature.why).collect();
        (message.dkim_headers.len(), why)
    }

    #[test]
    fn costly_or_weak_signatures_are_removed() {
        let good = field("rsa-sha256", "from", "");
        assert_eq!(aside(&good), (1, vec![]));
        assert_eq!(aside(&field("ed25519-sha256", "from", " r=y;")), (1, vec![]));
        let many = "from:".repeat(DKIM_SIGNED_FIELDS) + "from";
        assert_eq!(aside(&field("rsa-sha256", &many, "")), (0, vec!["it signs 129 fields".into()]));
        let sha1 = "rsa-sha1 is not accepted (RFC 8301)";
        assert_eq!(aside(&(field("rsa-sha1", "from", "") + &good)), (1, vec![sha1.into()]));
        assert_eq!(
            aside(&good.repeat(DKIM_SIGNATURES + 2)),
            (DKIM_SIGNATURES, vec!["2 signatures beyond 10".into()])
        );
    }

    #[test]
    fn a_signature_of_a_part_of_the_body_is_not_verified() {
        let octets = field("rsa-sha256", "from", " l=1;") + "From: a@author.example\r\n\r\n";
        let message = AuthenticatedMessage::parse(octets.as_bytes()).unwrap();
        assert!(message.dkim_headers.is_empty());
        let errors: Vec<_> = message.errors.iter().map(|error| &error.header).collect();
        assert_eq!(errors, [&Error::Dkim(DkimError::SignatureLength)]);
    }
}
