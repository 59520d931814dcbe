package limiter

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster"
)

// permitVersion is the first byte of a permit; permitSize the length of one.
const (
	permitVersion = 1
	permitSize    = 1 + 16 + 16 + 8
)

// HasPermit reports whether the charge took permits of a concurrency limit that can be
// given back.
func (s *LimitStatus) HasPermit() bool {
	return s.Receipt != 0 && s.Limit.Rule.Limit.Algorithm == bucket.Concurrency
}

// AppendPermit appends what names the permits the charge took: opaque to clients, at
// most 64 bytes.
func (s *LimitStatus) AppendPermit(dst []byte) []byte {
	dst = append(dst, permitVersion)
	for _, half := range [...]uint64{s.Hash.Hi, s.Hash.Lo, s.Limit.Rule.Hash.Hi, s.Limit.Rule.Hash.Lo, s.Receipt} {
		dst = binary.BigEndian.AppendUint64(dst, half)
	}
	return dst
}

// parsePermit reads what AppendPermit wrote.
func parsePermit(p []byte) (cluster.Permit, bool) {
	if len(p) != permitSize || p[0] != permitVersion {
		return cluster.Permit{}, false
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(p[1+8*i:]) }
	return cluster.Permit{
		Hash:    bucket.Hash{Hi: at(0), Lo: at(1)},
		Limit:   bucket.Hash{Hi: at(2), Lo: at(3)},
		Receipt: at(4),
	}, true
}

// Release gives permits back and returns how many were held; the rest had expired or
// were released before. The error is an *Error.
func (l *Limiter) Release(ctx context.Context, permits [][]byte) (int, error) {
	if len(permits) > MaxItems {
		return 0, &Error{Code: InvalidArgument, Field: "permits", Message: fmt.Sprintf("%d permits are too many: send at most %d at once", len(permits), MaxItems)}
	}
	held := make([]cluster.Permit, len(permits))
	for i, p := range permits {
		var ok bool
		if held[i], ok = parsePermit(p); !ok {
			return 0, &Error{Code: InvalidArgument, Field: fmt.Sprintf("permits[%d]", i), Message: "is not a permit: send back the bytes of a verdict's permit field as they came"}
		}
	}
	if len(held) == 0 {
		return 0, nil
	}
	ctx, cancel := l.withTimeout(ctx)
	defer cancel()
	n, err := l.keys.Release(ctx, held)
	if err != nil {
		return n, unreached("release permits", err)
	}
	return n, nil
}
