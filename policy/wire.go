package policy

import (
	"encoding/binary"

	"github.com/weir-io/weir/bucket"
)

// Field numbers of CheckResponse and LimitStatus in proto/weir/v1/limiter.proto.
const (
	fieldPolicy    = 3
	fieldLimitName = 4
	fieldAlgorithm = 5
	fieldLimit     = 6
)

// Wire types of protocol buffers.
const (
	wireVarint = 0
	wireBytes  = 2
)

// wire encodes what a verdict says of a limit whoever asks.
func wire(policy, limit string, l *bucket.Limit) []byte {
	b := appendText([]byte{fieldPolicy<<3 | wireBytes}, policy)
	b = appendText(append(b, fieldLimitName<<3|wireBytes), limit)
	b = append(b, fieldAlgorithm<<3|wireVarint, byte(l.Algorithm))
	if most := l.Most(); most > 0 {
		b = binary.AppendUvarint(append(b, fieldLimit<<3|wireVarint), uint64(most))
	}
	return b
}
