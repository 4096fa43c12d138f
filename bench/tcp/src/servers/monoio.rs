//! monoio on its `io_uring` driver, one task per connection.

use std::net::TcpListener;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};

use super::READ_BYTES;

pub fn serve(listener: TcpListener, connections: usize) {
    let mut runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
        .with_entries(1024)
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener).unwrap();
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tasks.push(monoio::spawn(async move {
                let mut buffer = Vec::with_capacity(READ_BYTES);
                loop {
                    let (read, filled) = stream.read(buffer).await;
                    if read.unwrap() == 0 {
                        return;
                    }
                    let (written, emptied) = stream.write_all(filled).await;
                    written.unwrap();
                    buffer = emptied;
                    buffer.clear();
                }
            }));
        }
        for task in tasks {
            task.await;
        }
    });
}
