//! Delivery into Maildirs.

use std::fs;

use crate::route::Destination;
use crate::tests::*;

fn into(directory: &TempDir) -> Daemon {
    let path = directory.path().join("mail");
    Daemon::start_with("127.0.0.1:1".parse().unwrap(), |settings| {
        settings.routes = Routes::new(vec![], NextHop::Maildir(path));
    })
}

#[tokio::test]
async fn one_copy_for_each_recipient_and_nothing_left_in_tmp() {
    let directory = TempDir::new().unwrap();
    let daemon = into(&directory);
    let large = "Subject: x\r\n\r\n.dot\r\n".to_owned() + &"0123456789\r\n".repeat(100_000);
    daemon.accept(&[ONE, "<two@fabrikam.example>"], large.as_bytes()).await;
    assert_eq!(daemon.finish().await.delivered, 2);
    let mail = directory.path().join("mail");
    let mut copies: Vec<_> = fs::read_dir(mail.join("new"))
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    copies.sort();
    let expected = ["one", "two"].map(|name| {
        let head = format!(
            "Return-Path: <sender@contoso.example>\nDelivered-To: {name}@fabrikam.example\n"
        );
        head + &large.replace("\r\n", "\n")
    });
    assert!(copies == expected, "other copies, or other octets");
    assert_eq!(fs::read_dir(mail.join("tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(mail.join("cur")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_keeps_the_mail() {
    let directory = TempDir::new().unwrap();
    // A file with the name of the directory: no file can be created below it.
    fs::write(directory.path().join("mail"), "").unwrap();
    let daemon = into(&directory);
    let id = daemon.accept(&[ONE], b"x\r\n").await;
    while daemon.queue.counters().deferred == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    fs::remove_file(directory.path().join("mail")).unwrap();
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.failed), (1, 0), "{id}");
    let path = directory.path().join("mail");
    assert_eq!(fs::read_dir(path.join("new")).unwrap().count(), 1);
    assert_eq!(
        Destination::Maildir(path.clone()).to_string(),
        format!("maildir {}", path.display())
    );
}
