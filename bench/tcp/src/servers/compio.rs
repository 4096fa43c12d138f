//! compio on its `io_uring` driver, one task per connection.

use std::net::TcpListener;

use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::runtime::Runtime;

use super::READ_BYTES;

pub fn serve(listener: TcpListener, connections: usize) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = compio::net::TcpListener::from_std(listener).unwrap();
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tasks.push(compio::runtime::spawn(async move {
                let mut buffer = Vec::with_capacity(READ_BYTES);
                loop {
                    let BufResult(read, filled) = stream.read(buffer).await;
                    if read.unwrap() == 0 {
                        return;
                    }
                    let BufResult(written, emptied) = stream.write_all(filled).await;
                    written.unwrap();
                    buffer = emptied;
                    buffer.clear();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}
