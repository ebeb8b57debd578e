//! A stream that is waited for, and not for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Reads from another stream, and fails when nothing comes from it for a while.
pub struct Impatient<R> {
    inner: R,
    limit: Duration,
    alarm: Pin<Box<Sleep>>,
    is_over: bool,
}

impl<R> Impatient<R> {
    /// Reads from `inner`, which may be silent for as long as `limit`.
    pub fn new(inner: R, limit: Duration) -> Self {
        Impatient {
            inner,
            limit,
            alarm: Box::pin(sleep(limit)),
            is_over: false,
        }
    }

    /// Whether the last reading found the end, or failed.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Impatient<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.inner).poll_read(context, buffer) {
            this.is_over = result.is_err() || buffer.filled().len() == before;
            let next = Instant::now() + this.limit;
            this.alarm.as_mut().reset(next);
            return Poll::Ready(result);
        }
        match this.alarm.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let minutes = this.limit.as_secs() / 60;
                this.is_over = true;
                let said = format!("nothing has come for {minutes} minutes");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, said)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn silence_is_an_error_and_an_end_is_none() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(8);
            let mut stream = Impatient::new(far, Duration::from_millis(20));
            near.write_all(b"ab").await.unwrap();
            let mut bytes = [0; 2];
            stream.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"ab");
            let error = stream.read(&mut bytes).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(stream.is_over());
            near.write_all(b"c").await.unwrap();
            assert_eq!(stream.read(&mut bytes).await.unwrap(), 1);
            assert!(!stream.is_over());
            drop(near);
            assert_eq!(stream.read(&mut bytes).await.unwrap(), 0);
            assert!(stream.is_over());
        });
    }
}
