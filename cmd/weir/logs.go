package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/weir-io/weir/accesslog"
)

// logFlags say which log to read.
type logFlags struct {
	Log      string `arg:"" optional:"" placeholder:"LOG" help:"Access log in common or combined format, gzipped or not; - for standard input."`
	Generate int    `placeholder:"N" help:"Make N lines up instead, Zipf-like."`
	Seed     uint64 `default:"1" placeholder:"S" help:"Seed of --generate: the same one makes the same lines (default ${default})."`
}

// A logInput is an open log, in the order of its timestamps.
type logInput struct {
	*accesslog.Orderer
	name   string            // for messages
	reader *accesslog.Reader // nil where lines are generated
	close  func() error
}

// open opens the log.
func (f *logFlags) open(stdin io.Reader) (*logInput, error) {
	switch {
	case f.Generate < 0:
		return nil, usage("--generate: %d lines cannot be made", f.Generate)
	case f.Generate > 0 && f.Log != "":
		return nil, usage("give a log or --generate, not both")
	case f.Generate > 0:
		return &logInput{Orderer: accesslog.NewOrderer(accesslog.NewGenerator(f.Generate, f.Seed), accesslog.Window), name: "--generate", close: func() error { return nil }}, nil
	case f.Log == "":
		return nil, usage("give an access log, - for standard input, or --generate N")
	}
	text, closeFile := stdin, func() error { return nil }
	if f.Log != "-" {
		file, err := os.Open(f.Log)
		if err != nil {
			return nil, err
		}
		text, closeFile = file, file.Close
	}
	text, err := unzip(text)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Log, err), closeFile())
	}
	name := f.Log
	if name == "-" {
		name = "standard input"
	}
	reader := accesslog.NewReader(text)
	return &logInput{Orderer: accesslog.NewOrderer(reader, accesslog.Window), name: name, reader: reader, close: closeFile}, nil
}

// unzip reads through gzip where the text begins like it.
func unzip(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	// What is too short to peek at is no gzip; whoever reads the lines meets the error.
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return gzip.NewReader(buffered)
	}
	return buffered, nil
}

// each calls f with every record until it fails.
func (l *logInput) each(f func(rec *accesslog.Record) error) error {
	for {
		rec, err := l.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%s ends in the middle: was it copied whole? %w", l.name, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		if err := f(&rec); err != nil {
			return err
		}
	}
}

// A logSummary is what was read of a log.
type logSummary struct {
	Records   int           `json:"records"`
	Malformed int           `json:"malformed"`
	Late      int           `json:"late,omitempty"`
	Problems  []problemJSON `json:"problems,omitempty"`
}

type problemJSON struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

// summary returns what was read so far.
func (l *logInput) summary(records int) logSummary {
	sum := logSummary{Records: records, Late: l.Late()}
	if l.reader != nil {
		sum.Malformed = l.reader.Malformed()
		for _, p := range l.reader.Problems() {
			sum.Problems = append(sum.Problems, problemJSON{p.Line, p.Reason, p.Text})
		}
	}
	return sum
}

// readable returns an error where not one line of a log could be read.
func (sum *logSummary) readable() error {
	if sum.Records > 0 || sum.Malformed == 0 {
		return nil
	}
	first := ""
	if len(sum.Problems) > 0 {
		first = fmt.Sprintf("; line %d: %s", sum.Problems[0].Line, sum.Problems[0].Reason)
	}
	return fmt.Errorf("none of %s lines could be read%s: is it an access log in common or combined format?", grouped(sum.Malformed), first)
}

// print says in words what was read; of what is wrong, the first few lines.
func (sum *logSummary) print(s *streams) {
	const shown = 5
	s.printf("%s requests read", grouped(sum.Records))
	if sum.Malformed == 1 {
		s.printf(", 1 malformed line left out")
	} else if sum.Malformed > 1 {
		s.printf(", %s malformed lines left out", grouped(sum.Malformed))
	}
	if sum.Late > 0 {
		s.printf(", %s out of order by more than %s lines", grouped(sum.Late), grouped(accesslog.Window))
	}
	s.printf("\n")
	for _, p := range sum.Problems[:min(shown, len(sum.Problems))] {
		s.printf("  line %d: %s\n", p.Line, p.Reason)
	}
	if sum.Malformed > shown {
		s.printf("  and %s more\n", grouped(sum.Malformed-shown))
	}
}

// A progress line on standard error tells a person that long work goes on. It is shown
// on terminals only.
type progress struct {
	s     *streams
	last  time.Time
	shown bool
}

func newProgress(s *streams) *progress { return &progress{s: s, last: time.Now()} }

// say replaces the line, a few times a second at most.
func (p *progress) say(format string, args ...any) {
	if time.Since(p.last) < 200*time.Millisecond || !terminal(p.s.err) {
		return
	}
	p.last, p.shown = time.Now(), true
	_, _ = fmt.Fprintf(p.s.err, "\r\x1b[K"+format, args...) // as note
}

// done takes the line away.
func (p *progress) done() {
	if p.shown {
		_, _ = fmt.Fprint(p.s.err, "\r\x1b[K") // as note
	}
}

// terminal reports whether a person may be watching a stream.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
