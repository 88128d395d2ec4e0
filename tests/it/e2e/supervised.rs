//! What the program tells whoever supervises it, over the socket that systemd would give it.

use super::{Scene, server};
use crate::bridge::{DEADLINE, Launcher};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

/// All that it says, as it comes, so that it never waits for a reader.
fn listen(path: &Path) -> Receiver<String> {
    let socket = UnixDatagram::bind(path).expect("a socket");
    let (said, heard) = sync_channel(1_000_000);
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(length) = socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.send(text).is_err() {
                return;
            }
        }
    });
    heard
}

/// Returns when it says this, and how much it has said before.
fn until(heard: &Receiver<String>, what: &str) -> usize {
    let next = || tokio::task::block_in_place(|| heard.recv_timeout(DEADLINE)).expect("told in time");
    (0..).find(|_| next() == what).expect("told in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_hears_when_it_has_started_that_its_loop_goes_on_and_when_it_stops() {
    let mut scene = Scene::start(server(&["1"]), |config| config).await;
    scene.bridge.kill();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let heard = listen(&path);
    // Missed so soon that every turn of the loop says that it goes on.
    let variables = [("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "1".to_owned())];
    let environment = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    scene.bridge.launch_by(Launcher { environment, ..Launcher::default() });
    scene.bridge.start_again().await;
    // The loop may have had its first turns by then.
    assert!(until(&heard, "READY=1") < 100);
    for number in 0..3 {
        scene.still_sends("1", &format!("m{number}")).await;
        until(&heard, "WATCHDOG=1");
    }
    scene.bridge.signal(nix::sys::signal::Signal::SIGTERM);
    until(&heard, "STOPPING=1");
    assert!(scene.bridge.wait().success());
}
