//! Writes lines to standard error in a thread of its own.
//!
//! Lines wait in a bounded buffer; if it is full, a new line is lost. If a write fails (the reader
//! of the pipe is gone, the disk is full), the line is lost too, and the next one is tried. Lost
//! lines are counted. After a loss, a line with the number of lost lines is written first.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};

use super::LogStatus;
use super::text::LineFormat;
use crate::limits::{LOG_OUTPUT_OCTETS, LOG_PENDING_OCTETS, LOG_POLL};

/// The buffer and the output file.
pub(super) struct LogSink {
    output: OwnedFd,
    form: LineFormat,
    state: Mutex<State>,
    /// Notified when the first line waits, and when no line waits any longer.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    /// Octets of lines that wait or are being written.
    pending: usize,
    /// Number of lost lines.
    lost: u64,
    /// Number of lost lines that the log has reported.
    told: u64,
    problem: Option<String>,
    /// The last line was written in part, so the next one begins with a line end.
    is_torn: bool,
    /// A thread writes: the writer's, or before it exists a thread that logs.
    is_writing: bool,
    has_thread: bool,
}

struct Line {
    octets: Vec<u8>,
    written: usize,
    /// For a report of lost lines: their number at that time.
    tells: Option<u64>,
}

/// How an incomplete write ended.
enum Stopped {
    /// The output accepts nothing at present.
    NotReady,
    Failed(io::Error),
}

/// Starts the thread.
pub(super) fn start_thread(sink: &Arc<LogSink>) -> io::Result<()> {
    let shared = Arc::clone(sink);
    thread::Builder::new().name("log".to_owned()).spawn(move || shared.run())?;
    sink.state.lock().has_thread = true;
    Ok(())
}

impl LogSink {
    pub(super) fn new(output: OwnedFd, form: LineFormat) -> Self {
        Self { output, form, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) const fn form(&self) -> LineFormat {
        self.form
    }

    /// Adds the lines of one event. Never blocks on the output.
    pub(super) fn put(&self, lines: Vec<String>) {
        let mut state = self.state.lock();
        let octets: usize = lines.iter().map(String::len).sum();
        if state.pending + octets > LOG_PENDING_OCTETS {
            state.lost += 1;
            return;
        }
        state.pending += octets;
        let lines = lines.into_iter().map(String::into_bytes);
        state.lines.extend(lines.map(|octets| Line { octets, written: 0, tells: None }));
        if state.has_thread {
            self.changed.notify_all();
        } else if !state.is_writing {
            drop(self.write_lines(state, Duration::ZERO));
        }
    }

    pub(super) fn status(&self) -> LogStatus {
        let state = self.state.lock();
        LogStatus { lost: state.lost, problem: state.problem.clone() }
    }

    /// Waits until all lines are written or lost, `limit` at most.
    pub(super) fn finish(&self, limit: Duration) {
        let mut state = self.state.lock();
        if !state.has_thread {
            drop(self.write_lines(state, limit));
            return;
        }
        // After a timeout nothing more can be done: nothing reads the output.
        let _ = self.changed.wait_while_for(&mut state, |state| state.pending > 0, limit);
    }

    /// The thread.
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            self.changed.wait_while(&mut state, |state| state.lines.is_empty());
            state = self.write_lines(state, LOG_POLL);
        }
    }

    /// Writes the waiting lines, until none wait or the output has not been ready for `patience`.
    fn write_lines<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        patience: Duration,
    ) -> MutexGuard<'a, State> {
        state.is_writing = true;
        while let Some(mut line) = self.next(&mut state) {
            drop(state);
            let (count, stopped) = write_ready(&self.output, line.rest(), patience);
            state = self.state.lock();
            line.written += count;
            match stopped {
                None => {
                    state.problem = None;
                    state.is_torn = false;
                    state.told = line.tells.unwrap_or(state.told);
                    state.settle(&line);
                }
                Some(Stopped::NotReady) => {
                    state.problem =
                        Some("nothing reads standard error, and its buffer is full".to_owned());
                    state.lines.push_front(line);
                    break;
                }
                Some(Stopped::Failed(error)) => {
                    state.problem = Some(error.to_string());
                    state.is_torn |= line.written > 0;
                    // If the report of lost lines cannot be written, the line after it is lost too.
                    let lost =
                        if line.tells.is_some() { state.lines.pop_front() } else { Some(line) };
                    if let Some(lost) = lost {
                        state.settle(&lost);
                        state.lost += 1;
                    }
                }
            }
        }
        state.is_writing = false;
        self.changed.notify_all();
        state
    }

    /// The next line to write. Lost lines are reported between two lines.
    fn next(&self, state: &mut State) -> Option<Line> {
        let front = state.lines.front()?;
        if front.written > 0 || front.tells.is_some() || state.lost == state.told {
            let mut line = state.lines.pop_front()?;
            line.mend(state);
            return Some(line);
        }
        let octets = self.form.lost_lines_text(state.lost - state.told).into_bytes();
        let mut line = Line { octets, written: 0, tells: Some(state.lost) };
        line.mend(state);
        Some(line)
    }
}

impl State {
    /// Marks a line as written or lost.
    fn settle(&mut self, line: &Line) {
        if line.tells.is_none() {
            self.pending = self.pending.saturating_sub(line.octets.len());
        }
    }
}

impl Line {
    fn rest(&self) -> &[u8] {
        self.octets.get(self.written..).unwrap_or_default()
    }

    /// Ends a partly written line before this line begins.
    fn mend(&mut self, state: &mut State) {
        if self.written == 0 && mem::take(&mut state.is_torn) {
            self.octets.insert(0, b'\n');
            if self.tells.is_none() {
                state.pending += 1;
            }
        }
    }
}

/// Writes without blocking: polls the output first; a pipe or a socket gets as much in one write as
/// it has room for. Returns the number of written octets.
fn write_ready(output: &OwnedFd, octets: &[u8], patience: Duration) -> (usize, Option<Stopped>) {
    let mut written = 0;
    // The time is less than a minute.
    let patience =
        Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
    while written < octets.len() {
        let mut polled = [PollFd::new(output, PollFlags::OUT)];
        match poll(&mut polled, Some(&patience)) {
            Ok(0) => return (written, Some(Stopped::NotReady)),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return (written, Some(Stopped::Failed(error.into()))),
        }
        let end = octets.len().min(written + LOG_OUTPUT_OCTETS);
        match write(output, &octets[written..end]) {
            Ok(0) => {
                let error = io::ErrorKind::WriteZero.into();
                return (written, Some(Stopped::Failed(error)));
            }
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return (written, Some(Stopped::NotReady)),
            Err(error) => return (written, Some(Stopped::Failed(error.into()))),
        }
    }
    (written, None)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, PipeReader, Read};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn on_a_pipe() -> (Arc<LogSink>, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let sink = Arc::new(LogSink::new(writer.into(), LineFormat::Plain));
        start_thread(&sink).unwrap();
        (sink, reader)
    }

    fn put(sink: &LogSink, line: &str) {
        sink.put(vec![format!("{line}\n")]);
    }

    #[test]
    fn lines_that_fit_are_written_in_order() {
        let (sink, mut reader) = on_a_pipe();
        (0..1000).for_each(|number| put(&sink, &number.to_string()));
        sink.finish(LIMIT);
        let mut text = [0; 3890];
        reader.read_exact(&mut text).unwrap();
        let numbers = String::from_utf8_lossy(&text);
        assert!(numbers.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..1000));
        assert_eq!(sink.status(), LogStatus::default());
    }

    #[test]
    fn a_closed_pipe_costs_only_lines() {
        let (sink, reader) = on_a_pipe();
        drop(reader);
        for number in 1..=3 {
            put(&sink, "x");
            sink.finish(LIMIT);
            assert_eq!(sink.status().lost, number);
        }
        assert!(sink.status().problem.is_some());
    }

    #[test]
    fn a_full_disk_costs_only_lines_even_without_a_thread() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let sink = LogSink::new(full.into(), LineFormat::Json);
        put(&sink, "one");
        put(&sink, "two");
        sink.finish(LIMIT);
        assert_eq!(sink.status().lost, 2);
        assert!(sink.status().problem.unwrap().contains("space"));
    }

    #[test]
    fn an_unread_pipe_blocks_no_caller_and_the_loss_is_reported_later() {
        let (sink, reader) = on_a_pipe();
        let line = "y".repeat(1023);
        let count = 2 * LOG_PENDING_OCTETS / 1024;
        (0..count).for_each(|_| put(&sink, &line));
        sink.finish(Duration::from_millis(10));
        let LogStatus { lost, problem } = sink.status();
        assert!(problem.is_some() || lost > 0);
        assert!(lost > 0 && lost < count as u64, "{lost}");
        let lines = BufReader::new(reader).lines().map(Result::unwrap);
        let reading =
            thread::spawn(|| lines.take_while(|line| line != "after").collect::<Vec<_>>());
        sink.finish(LIMIT);
        put(&sink, "after");
        sink.finish(LIMIT);
        let lines = reading.join().unwrap();
        let copies = |wanted: &str| lines.iter().filter(|line| *line == wanted).count() as u64;
        assert_eq!(copies(&line), count as u64 - lost);
        assert_eq!(copies(LineFormat::Plain.lost_lines_text(lost).trim_end()), 1);
        assert_eq!(sink.status(), LogStatus { lost, problem: None });
    }

    #[test]
    fn the_line_after_a_torn_one_begins_at_a_line_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = LogSink::new(writer.into(), LineFormat::Plain);
        sink.state.lock().is_torn = true;
        put(&sink, "whole");
        let mut text = [0; 7];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"\nwhole\n");
        assert_eq!(sink.state.lock().pending, 0);
    }
}
