//! A next hop in back-off is tried when an administrator asks for it.

use std::time::SystemTime;

use crate::tests::*;
use relay_host::back_off::BackOff;
use relay_queue::store::EntryChange;

#[tokio::test]
async fn a_next_hop_that_is_resumed_is_tried_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hour = Duration::from_secs(3600);
    let resumed = Resumed::default();
    let daemon = Daemon::start_with(address, |settings| {
        settings.back_off = BackOff { first: hour, longest: hour };
        settings.resumed = resumed.clone();
    });
    let schedule = Schedule { first: hour, longest: hour, ..Schedule::default() };
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    daemon.queue.set_settings(relay_queue::QueueSettings { hostname, schedule });
    let id = daemon.accept(&[ONE], b"x\r\n").await;
    while daemon.queue.counters().deferred == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let sink = TestNextHop::default();
    sink.clone().serve(TcpListener::bind(address).await.unwrap());
    let retry = async || {
        while daemon.queue.store().change(id, EntryChange::Retry).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    // A retry has no effect while the next hop is in back-off.
    retry().await;
    while daemon.queue.store().next_due().is_none_or(|due| due <= SystemTime::now()) {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(daemon.queue.store().find(id).await.unwrap().attempts, 1);

    let routes = impatient(address).routes;
    let entry = daemon.queue.store().find(id).await.unwrap();
    let hop = routes.destination(&entry.sender, &entry.recipients[0].path);
    resumed.add([hop].into_iter());
    retry().await;
    assert_eq!(daemon.finish().await.delivered, 1);
    assert_eq!(sink.taken().len(), 1);
}
