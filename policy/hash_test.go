package policy

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/weir-io/weir/bucket"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// A composed is what a bucket's key is made of.
type composed struct {
	domain, id string
	key        map[string]string
}

func (c composed) compose() string {
	names := slices.Sorted(maps.Keys(c.key))
	number := map[string]int32{}
	var values []string
	k := newKeyer(c.domain, &Policy{ID: c.id, Key: names}, func(name string) int32 {
		number[name] = int32(len(values))
		values = append(values, c.key[name])
		return number[name]
	})
	return string(k.compose(nil, values))
}

// split reads back what compose wrote: where that works, no two keys compose alike.
func split(b string) (c composed, ok bool) {
	text := func() string {
		n, used := binary.Uvarint([]byte(b))
		if used <= 0 || uint64(len(b)-used) < n {
			ok = false
			return ""
		}
		s := b[used : used+int(n)]
		b = b[used+int(n):]
		return s
	}
	if ok = strings.HasPrefix(b, string(rune(hashKey))); !ok {
		return c, false
	}
	b = b[1:]
	c.domain, c.id = text(), text()
	n, used := binary.Uvarint([]byte(b))
	if used <= 0 {
		return c, false
	}
	b = b[used:]
	c.key = map[string]string{}
	for range n {
		name := text()
		c.key[name] = text()
	}
	return c, ok && b == ""
}

func TestKeyIsInjective(t *testing.T) {
	texts := rapid.StringMatching(`[ab\x00\x01\x02_]{1,4}`)
	rapid.Check(t, func(t *rapid.T) {
		c := composed{texts.Draw(t, "domain"), texts.Draw(t, "id"), rapid.MapOfN(texts, texts, 0, 4).Draw(t, "key")}
		got, ok := split(c.compose())
		if !ok || got.domain != c.domain || got.id != c.id || !maps.Equal(got.key, c.key) {
			t.Fatalf("%q was composed and read as %q, %v", c, got, ok)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add("shop", "a", "client", "x", "user", "y")
	f.Add("a_b", "c", "a", "b_c", "\x00", "\xff")
	f.Fuzz(func(t *testing.T, domain, id, name1, value1, name2, value2 string) {
		c := composed{domain, id, map[string]string{name1: value1, name2: value2}}
		got, ok := split(c.compose())
		if !ok || got.domain != c.domain || got.id != c.id || !maps.Equal(got.key, c.key) {
			t.Fatalf("%q was composed and read as %q, %v", c, got, ok)
		}
	})
}

// TestHash wants every part of what names a bucket in its hash, and the secret.
func TestHash(t *testing.T) {
	text := func(domain, name, id, key string) string {
		return fmt.Sprintf("domain: \"%s\"\npolicies:\n  - {name: %s, id: %s, key: [%s], limits: [{name: l, algorithm: token_bucket, rate: 1/s}]}\n", domain, name, id, key)
	}
	hash := func(secret Secret, doc string, pairs ...string) bucket.Hash {
		d, err := Parse("x.yaml", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := Compile(nil, []*Document{d}, 1, secret)
		if err != nil {
			t.Fatal(err)
		}
		var c Choice
		var attributes []Attribute
		for i := 0; i < len(pairs); i += 2 {
			attributes = append(attributes, Attribute{pairs[i], pairs[i+1]})
		}
		s.Choose("shop", attributes, &c)
		if len(c.Winners) != 1 {
			t.Fatalf("%d winners", len(c.Winners))
		}
		return c.Winners[0].Hash
	}
	one, two := Secret{1}, Secret{2}
	base := hash(one, text("shop", "p", "i", "a, b"), "a", "x", "b", "y")
	if got := hash(one, text("shop", "q", "i", "b, a"), "b", "y", "c", "z", "a", "x"); got != base {
		t.Error("the hash depends on the policy's name, the order of the key or other attributes")
	}
	for name, got := range map[string]bucket.Hash{
		"secret":         hash(two, text("shop", "p", "i", "a, b"), "a", "x", "b", "y"),
		"domain":         hash(one, text("*", "p", "i", "a, b"), "a", "x", "b", "y"),
		"id":             hash(one, text("shop", "p", "j", "a, b"), "a", "x", "b", "y"),
		"value":          hash(one, text("shop", "p", "i", "a, b"), "a", "x", "b", "z"),
		"values swapped": hash(one, text("shop", "p", "i", "a, b"), "a", "y", "b", "x"),
		"key's names":    hash(one, text("shop", "p", "i", "a, c"), "a", "x", "c", "y"),
	} {
		if got == base {
			t.Errorf("another %s hashes alike", name)
		}
	}
	limit := one.key().limitHash("shop", "p", "a")
	for name, got := range map[string]bucket.Hash{
		"secret": two.key().limitHash("shop", "p", "a"),
		"domain": one.key().limitHash("*", "p", "a"),
		"policy": one.key().limitHash("shop", "q", "a"),
		"name":   one.key().limitHash("shop", "p", "b"),
		"split":  one.key().limitHash("shop", "pa", ""),
	} {
		if got == limit {
			t.Errorf("a limit of another %s hashes alike", name)
		}
	}
}

func TestHashSpreads(t *testing.T) {
	key := Secret{7}.key()
	var rows [bucket.Partitions]int
	const n = 64 * bucket.Partitions
	for i := range n {
		c := composed{"shop", "p", map[string]string{"client": fmt.Sprint(i)}}
		rows[key.hash([]byte(c.compose())).Partition()]++
	}
	for p, got := range rows {
		if got < 20 || got > 130 {
			t.Errorf("partition %d has %d of %d keys", p, got, n)
		}
	}
}

func TestWire(t *testing.T) {
	for _, l := range []bucket.Limit{
		{Algorithm: bucket.TokenBucket, Count: 100, Burst: 200},
		{Algorithm: bucket.SlidingWindow, Count: 1_000_000_000_000},
		{Algorithm: bucket.Concurrency, Count: 3},
		{Algorithm: bucket.FixedWindow},
	} {
		b := wire("client-rate", strings.Repeat("l", 64), &l)
		want := &weirv1.CheckResponse{Policy: "client-rate", LimitName: strings.Repeat("l", 64), Algorithm: weirv1.Algorithm(l.Algorithm), Limit: uint64(l.Most())}
		var got weirv1.CheckResponse
		if err := proto.Unmarshal(b, &got); err != nil || !proto.Equal(&got, want) {
			t.Errorf("%v, %v, want %v", &got, err, want)
		}
		var status weirv1.LimitStatus
		if err := proto.Unmarshal(b, &status); err != nil || status.GetPolicy() != want.GetPolicy() || status.GetLimit() != want.GetLimit() || status.GetAlgorithm() != want.GetAlgorithm() {
			t.Errorf("as a LimitStatus: %v, %v", &status, err)
		}
		if same, err := (proto.MarshalOptions{Deterministic: true}).Marshal(want); err != nil || string(same) != string(b) {
			t.Errorf("%x, want %x (%v)", b, same, err)
		}
	}
}
