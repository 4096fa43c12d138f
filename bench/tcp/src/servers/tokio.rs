//! tokio's current-thread runtime, one task per connection.

use std::net::TcpListener;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::READ_BYTES;

pub fn serve(listener: TcpListener, connections: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tasks.push(tokio::spawn(async move {
                // Not zeroed, so that an idle connection has the pages only that were read into.
                let mut buffer = Vec::with_capacity(READ_BYTES);
                loop {
                    if stream.read_buf(&mut buffer).await.unwrap() == 0 {
                        return;
                    }
                    stream.write_all(&buffer).await.unwrap();
                    buffer.clear();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}
