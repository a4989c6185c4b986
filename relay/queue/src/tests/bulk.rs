//! Pages of a long queue, changes of many messages, and the export of a message.

use crate::bulk::{self, BulkAction, Span};
use crate::export;
use crate::filter::{Filter, Wildcard};
use crate::tests::*;
use relay_mail::envelope::BodyType;
use relay_message::outbound::Audience;

/// A queue with this many messages, every hundredth from another sender.
async fn filled(messages: usize) -> (TempDir, Queue) {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..messages {
        let sender = if number % 100 == 0 { "<rare@b.example>" } else { "<a@b.example>" };
        // One after the other, so that ids follow numbers; the commits share their syncs.
        let incoming = queue.begin(envelope_of(sender, &["<one@fabrikam.example>"])).await;
        let mut incoming = incoming.unwrap();
        tasks.spawn(async move {
            incoming.write(Bytes::from_static(b"A: b\r\n")).await.unwrap();
            incoming.commit().await.unwrap();
        });
    }
    while tasks.join_next().await.is_some() {}
    (directory, queue)
}

fn after(last: Option<&String>) -> Option<QueueId> {
    last.map(|id| id.parse().unwrap())
}

fn rare() -> Filter {
    Filter { sender: Some(Wildcard::new("rare@*")), ..Filter::default() }
}

#[tokio::test]
async fn a_long_queue_comes_in_pages() {
    let (_directory, queue) = filled(limits::QUEUE_PAGE_LOOKED_AT + 300).await;
    for (filter, expected) in
        [(Filter::default(), limits::QUEUE_PAGE_LOOKED_AT + 300), (rare(), 53)]
    {
        let (mut span, mut ids, mut pages) = (Span::default(), Vec::new(), 0);
        loop {
            let page =
                bulk::list(&queue, span, &filter, usize::MAX, |_| String::new()).await.unwrap();
            assert!(page.rows.len() <= limits::QUEUE_PAGE_MESSAGES);
            ids.extend(page.rows.into_iter().map(|row| row.id));
            pages += 1;
            if !page.place.more {
                break;
            }
            span.after = after(page.place.last.as_ref());
        }
        assert_eq!(ids.len(), expected);
        assert!(ids.is_sorted() && pages > 1, "{pages} pages");
        let count = bulk::count(&queue, Span::default(), &filter).await.unwrap();
        assert!(count.place.more && count.messages <= expected as u64);
    }
    let page = bulk::list(&queue, Span::default(), &Filter::default(), 3, |_| String::new())
        .await
        .unwrap();
    assert_eq!((page.rows.len(), page.place.more), (3, true));
}

#[tokio::test]
async fn only_selected_messages_are_changed() {
    let (_directory, queue) = filled(300).await;
    let all = bulk::list(&queue, Span::default(), &Filter::default(), 300, |_| String::new())
        .await
        .unwrap();
    let until = Some(all.rows[150].id.parse().unwrap());
    // One message in delivery, and one that has just arrived.
    let busy = queue.store().claim_due(SystemTime::now(), 1).await.unwrap().remove(0);
    let span = Span { after: None, until };
    let meant = bulk::select(&queue, span, &Filter::default()).await.unwrap();
    assert_eq!((meant.entries.len(), meant.place.more), (151, false));
    let held = bulk::change(&queue, BulkAction::Hold, meant).await;
    assert_eq!((held.changed, held.failed.len()), (150, 1));
    assert_eq!(held.failed[0].id, busy.id.to_string());
    assert!(held.failed[0].because.contains("being delivered"), "{}", held.failed[0].because);
    assert_eq!(queue.counters().lengths.held, 150);

    let meant = Filter { held: Some(true), ..rare() };
    let selected = bulk::select(&queue, Span::default(), &meant).await.unwrap();
    let removed = bulk::change(&queue, BulkAction::Remove, selected).await;
    // The first message is in delivery.
    assert_eq!((removed.changed, removed.failed.len()), (1, 0));
    assert_eq!(queue.counters().lengths.held, 149);
    // Messages without a change are not counted as changed, and a message on hold is not tried.
    let all = bulk::select(&queue, Span::default(), &Filter::default()).await.unwrap();
    let many = all.entries.len() as u64;
    for (verb, changed, held) in [
        (BulkAction::Retry, many - 149 - 1, 149),
        (BulkAction::Hold, many - 149 - 1, many - 1),
        (BulkAction::Hold, 0, many - 1),
        (BulkAction::Release, many - 1, 0),
        (BulkAction::Release, 0, 0),
    ] {
        let selected = bulk::select(&queue, Span::default(), &Filter::default()).await.unwrap();
        let done = bulk::change(&queue, verb, selected).await;
        let failed = done.failed.len() as u64;
        assert_eq!((done.changed, done.changed + done.unchanged + failed), (changed, many));
        assert_eq!(queue.counters().lengths.held, held, "{verb:?}");
    }
}

#[tokio::test]
async fn an_exported_message_is_what_would_leave() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(directory.path());
    let fields = "X-MS-Exchange-Organization-AuthAs: Internal\r\n";
    for repeated in [1, 60_000] {
        let rest = ["Subject: x\r\n\r\n", &".line\r\n".repeat(repeated), "no end"].concat();
        let whole = format!("{fields}{rest}");
        let envelope = Envelope { body: BodyType::EightBitMime, ..envelope() };
        let id = try_commit(&queue, envelope, whole.as_bytes()).await.unwrap();
        for (audience, expected) in [(Audience::Outside, &rest), (Audience::Organization, &whole)] {
            let mut export = export::open(&queue, id, |_, _| audience).await.unwrap();
            let mut bytes = Vec::new();
            while let Some(piece) = export.next().await.unwrap() {
                assert!(piece.len() <= limits::MESSAGE_IN_MEMORY);
                bytes.extend_from_slice(&piece);
            }
            assert!(bytes == expected.as_bytes(), "{} octets", bytes.len());
            let mail = "MAIL FROM:<sender@contoso.example> BODY=8BITMIME";
            assert_eq!(export.envelope.mail, mail);
            assert_eq!(export.envelope.recipients, ["RCPT TO:<one@fabrikam.example>"]);
        }
    }
    let missing = export::open(&queue, QueueId::from_u64(7), |_, _| Audience::Outside).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
}
