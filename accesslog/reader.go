package accesslog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxLine is the longest line in bytes; longer ones count as malformed.
const MaxLine = 64 << 10

// MaxProblems is how many malformed lines a Reader keeps with their reason; the rest
// is only counted.
const MaxProblems = 100

// A Problem is one line that could not be read.
type Problem struct {
	Line   int    // from 1
	Reason string // which field, and what is wrong with it
	Text   string // how the line begins, at most 120 bytes of it
}

// String returns "line 7: reason".
func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Reason) }

// A Reader reads records from a log's text.
type Reader struct {
	in        *bufio.Reader
	line      int
	malformed int
	problems  []Problem
}

// NewReader returns a Reader of text, which is already decompressed.
func NewReader(text io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(text, MaxLine)}
}

// Next returns the next record, or io.EOF when there is none. Blank lines are passed
// over, malformed ones are counted; any other error is one of the text's reader, after
// which the records so far stay good.
func (r *Reader) Next() (Record, error) {
	for {
		line, err := r.read()
		if err != nil {
			return Record{}, err
		}
		if len(line) == 0 {
			continue
		}
		rec, err := Parse(string(line))
		if err != nil {
			r.complain(err.Error(), line)
			continue
		}
		rec.Line = r.line
		return rec, nil
	}
}

// Lines returns how many lines were read so far, of any kind.
func (r *Reader) Lines() int { return r.line }

// Malformed returns how many lines could not be read so far.
func (r *Reader) Malformed() int { return r.malformed }

// Problems returns the first MaxProblems malformed lines.
func (r *Reader) Problems() []Problem { return r.problems }

// read returns the next line without its end, valid until the next call. Of one that is
// too long it returns nothing, and counts it.
func (r *Reader) read() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if len(line) == 0 && err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("read line %d: %w", r.line+1, err)
	}
	r.line++
	if errors.Is(err, bufio.ErrBufferFull) {
		r.complain(fmt.Sprintf("longer than %d bytes", MaxLine), line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.in.ReadSlice('\n')
		}
		line = nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read line %d: %w", r.line, err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func (r *Reader) complain(reason string, line []byte) {
	r.malformed++
	if len(r.problems) < MaxProblems {
		text := bytes.ToValidUTF8(line[:min(len(line), 120)], nil)
		r.problems = append(r.problems, Problem{Line: r.line, Reason: reason, Text: string(text)})
	}
}
