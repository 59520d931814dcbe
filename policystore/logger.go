package policystore

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// A raftLog passes what raft says on to slog, one level quieter: that a peer does not
// answer is an error to raft and daily bread to a cluster.
type raftLog struct{ log *slog.Logger }

var quieter = map[hclog.Level]slog.Level{hclog.Info: slog.LevelDebug, hclog.Warn: slog.LevelInfo, hclog.Error: slog.LevelWarn}

func newRaftLog(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(raftLog{log})
	return l
}

// Accept takes one line of raft's.
func (r raftLog) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to, known := quieter[level]
	ctx := context.Background()
	if !known || !r.log.Enabled(ctx, to) {
		return
	}
	attrs := make([]slog.Attr, 0, len(args)/2+1)
	attrs = append(attrs, slog.String("raft", msg))
	for i := 0; i+1 < len(args); i += 2 {
		attrs = append(attrs, slog.String(fmt.Sprint(args[i]), written(args[i+1])))
	}
	r.log.LogAttrs(ctx, to, "raft speaks", attrs...)
}

// written writes a value at once: raft hands over pointers to what it goes on changing.
func written(v any) string {
	if f, ok := v.(hclog.Format); ok && len(f) > 0 {
		return fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
	}
	return fmt.Sprint(v)
}
