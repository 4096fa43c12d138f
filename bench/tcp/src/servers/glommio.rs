//! glommio, one task per connection on an executor of this thread.

use std::net::TcpListener;
use std::os::fd::{FromRawFd, IntoRawFd};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use glommio::{LocalExecutorBuilder, Placement};

use super::READ_BYTES;

pub fn serve(listener: &TcpListener, connections: usize) {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .make()
        .unwrap();
    executor.run(async {
        let mut tasks = Vec::new();
        for _ in 0..connections {
            // Its listener cannot take over one that is there; so all are accepted before they are served.
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            // SAFETY: the descriptor is that of an open socket, and nobody else has it.
            let mut stream: TcpStream = unsafe { TcpStream::from_raw_fd(stream.into_raw_fd()) };
            let task = glommio::spawn_local(async move {
                let mut buffer = vec![0; READ_BYTES];
                loop {
                    let bytes = stream.read(&mut buffer).await.unwrap();
                    if bytes == 0 {
                        return;
                    }
                    stream.write_all(&buffer[..bytes]).await.unwrap();
                }
            });
            tasks.push(task);
        }
        for task in tasks {
            task.await;
        }
    });
}
