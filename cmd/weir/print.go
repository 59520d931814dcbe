package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// printf prints to standard output. Where that fails nobody is left to be told.
func (s *streams) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

// note prints to standard error what is not part of the output proper.
func (s *streams) note(format string, args ...any) { _, _ = fmt.Fprintf(s.err, format+"\n", args...) }

// printJSON prints v as indented JSON.
func (s *streams) printJSON(v any) error {
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print json: %w", err)
	}
	return nil
}

// A table is rows of cells under a head, aligned when printed: columns to the right
// whose cells below the head all begin like a number, others to the left.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table with an indent.
func (t *table) print(w io.Writer, indent string) {
	width := make([]int, len(t.head))
	numeric := make([]bool, len(t.head))
	for i, h := range t.head {
		width[i], numeric[i] = utf8.RuneCountInString(h), len(t.rows) > 0
		for _, row := range t.rows {
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
			numeric[i] = numeric[i] && (row[i] == "" || row[i] == "-" || strings.ContainsAny(row[i][:1], "0123456789+"))
		}
	}
	for _, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		line.WriteString(indent)
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if numeric[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
			line.WriteString("  ")
		}
		_, _ = fmt.Fprintln(w, strings.TrimRight(line.String(), " ")) // as printf
	}
}

// grouped writes a number with blanks between its thousands.
func grouped[N int | int64 | uint64](n N) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// percent writes a share.
func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

// seconds writes a number of seconds as a person says it.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
