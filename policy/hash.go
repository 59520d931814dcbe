package policy

import (
	"encoding/binary"

	"github.com/dchest/siphash"

	"github.com/weir-io/weir/bucket"
)

// What is hashed begins with a byte that says what it is, so that no key and no limit
// share an input.
const (
	hashKey   = 'k'
	hashLimit = 'l'
)

// sipKey is a Secret as SipHash takes it.
type sipKey struct{ k0, k1 uint64 }

func (s Secret) key() sipKey {
	return sipKey{binary.LittleEndian.Uint64(s[:8]), binary.LittleEndian.Uint64(s[8:])}
}

func (k sipKey) hash(b []byte) bucket.Hash {
	hi, lo := siphash.Hash128(k.k0, k.k1, b)
	return bucket.Hash{Hi: hi, Lo: lo}
}

// limitHash is a limit's own hash: a bucket's name is its key's hash xor this. It names the
// policy too: when memory is full, the keys of one limit share the bucket of this name,
// and other policies' limits of the same name must not share it with them.
func (k sipKey) limitHash(domain, policyID, name string) bucket.Hash {
	return k.hash(appendText(appendText(appendText([]byte{hashLimit}, domain), policyID), name))
}

// appendText appends a text after its length: what is composed so is read in one way
// only.
func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A keyer composes what is hashed of a policy's key: domain, policy id, and the key's
// attributes as name and value in the order of their names.
type keyer struct {
	head  []byte // all that is the same for every request, up to the first name
	parts []keyPart
}

// A keyPart is one attribute of a key.
type keyPart struct {
	attribute int32
	name      []byte // after its length; nil for the first, whose name is in head
}

func newKeyer(domain string, p *Policy, number func(string) int32) keyer {
	var k keyer
	k.head = appendText(appendText([]byte{hashKey}, domain), p.ID)
	k.head = binary.AppendUvarint(k.head, uint64(len(p.Key)))
	for i, name := range p.Key {
		part := keyPart{attribute: number(name)}
		if i == 0 {
			k.head = appendText(k.head, name)
		} else {
			part.name = appendText(nil, name)
		}
		k.parts = append(k.parts, part)
	}
	return k
}

// compose appends what is hashed for a request's values to b.
func (k *keyer) compose(b []byte, values []string) []byte {
	b = append(b, k.head...)
	for i := range k.parts {
		p := &k.parts[i]
		b = append(b, p.name...)
		b = appendText(b, values[p.attribute])
	}
	return b
}
