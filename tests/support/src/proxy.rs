//! A proxy between two programs that a test has fail in the ways of a network.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The way in which it treats what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Everything gets there.
    Pass,
    /// Requests get there, answers do not, and nobody is told.
    NoAnswers,
    /// Nothing gets there, and nobody is told.
    Nothing,
    /// Connections are refused, and those that there are were cut.
    Refused,
    /// Everything gets there once it may pass again, whoever has given up on it meanwhile.
    Late,
}

/// A proxy in front of one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

const MODES: [Mode; 5] = [Mode::Pass, Mode::NoAnswers, Mode::Nothing, Mode::Refused, Mode::Late];
/// How often a pump that passes nothing looks whether it may again.
const LOOK: Duration = Duration::from_millis(5);

fn mode_of(mode: &AtomicU8) -> Mode {
    MODES[usize::from(mode.load(Ordering::Relaxed))]
}

impl Proxy {
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(AtomicU8::new(0));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (shared, kept) = (Arc::clone(&mode), Arc::clone(&connections));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if mode_of(&shared) == Mode::Refused {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let mut kept = kept.lock().unwrap();
                kept.push(client.try_clone().unwrap());
                kept.push(server.try_clone().unwrap());
                let pairs = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), false),
                    (server, client, true),
                ];
                for (from, to, answers) in pairs {
                    let mode = Arc::clone(&shared);
                    thread::spawn(move || pump(from, to, answers, &mode));
                }
            }
        });
        Self { address, mode, connections }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on it treats everything so. Connections that have lost something are cut when it passes
    /// everything again: what is between two programs is a stream.
    pub fn set(&self, mode: Mode) {
        let before = mode_of(&self.mode);
        self.mode.store(mode as u8, Ordering::Relaxed);
        if before != mode && before != Mode::Late && (mode == Mode::Pass || mode == Mode::Refused) {
            for connection in self.connections.lock().unwrap().drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a pump that passes nothing has nothing to wait for")]
fn pump(mut from: TcpStream, mut to: TcpStream, answers: bool, mode: &AtomicU8) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while mode_of(mode) == Mode::Late {
            thread::sleep(LOOK);
        }
        let lost = match mode_of(mode) {
            Mode::Pass | Mode::Late => false,
            Mode::NoAnswers => answers,
            Mode::Nothing | Mode::Refused => true,
        };
        if lost {
            thread::sleep(LOOK);
            continue;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
