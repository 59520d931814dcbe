package api

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// decoded is a request as a front door read it.
type decoded struct {
	domain     string
	attributes []policy.Attribute
	hits       int64
	peek       bool
}

func (f *frame) decoded(i int) decoded {
	r := &f.batch.Requests[i]
	return decoded{r.Domain, slices.Clone(r.Attributes), r.Hits, r.Peek}
}

func (d decoded) equal(o decoded) bool {
	return d.domain == o.domain && slices.Equal(d.attributes, o.attributes) && d.hits == o.hits && d.peek == o.peek
}

// Whatever comes as JSON is read as encoding/json reads it, or refused.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"domain":"shop-api","attributes":{"client":"acme","method":"GET","path":"/v1/orders/7"},"hits":1,"peek":false}`,
		`{}`, ` { "domain" : "\u00e4\ud83d\ude00\n\"" } `, `{"hits":4294967295}`, `{"hits":4294967296}`, `{"hits":-1}`, `{"hits":1e2}`, `{"hits":01}`,
		`{"domain":"a","domain":"b"}`, `{"attributes":{"a":"1","a":"2"}}`, `{"unknown":1}`, `{"domain":null}`, `{"peek":tru}`, `{"domain":"\ud800"}`, `{}{}`, `[`, "{\"domain\":\"\x01\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ours := newFrame(checkMessage)
		defer ours.release()
		ours.in = append(ours.in[:0], body...)
		refused := ours.decodeJSON()

		var theirs struct {
			Domain     string            `json:"domain"`
			Attributes map[string]string `json:"attributes"`
			Hits       uint32            `json:"hits"`
			Peek       bool              `json:"peek"`
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		err := d.Decode(&theirs)
		if refused != nil {
			if refused.Message == "" {
				t.Error("refused without a word")
			}
			return // stricter about what is there twice, null, and names in another case
		}
		if err != nil || d.More() {
			t.Fatalf("%q is taken; encoding/json says %v", body, err)
		}
		got := ours.decoded(0)
		if got.domain != theirs.Domain || got.hits != int64(theirs.Hits) || got.peek != theirs.Peek || len(got.attributes) != len(theirs.Attributes) {
			t.Fatalf("%q is read as %+v, by encoding/json as %+v", body, got, theirs)
		}
		for _, a := range got.attributes {
			if v, ok := theirs.Attributes[a.Key]; !ok || v != a.Value {
				t.Errorf("%q: attribute %q is %q, by encoding/json %q", body, a.Key, a.Value, v)
			}
		}
	})
}

// Whatever comes as a request or a batch is read as the generated code reads it, or
// refused.
func FuzzCheckRequest(f *testing.F) {
	one := &weirv1.CheckRequest{Domain: "shop", Attributes: []*weirv1.Attribute{{Key: "client", Value: "acme"}, {Key: "path", Value: "/"}}, Hits: 3, Peek: true}
	for _, m := range []proto.Message{one, &weirv1.CheckRequest{}, &weirv1.CheckBatchRequest{Requests: []*weirv1.CheckRequest{one, {}, one}}} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f}, true)
	f.Fuzz(func(t *testing.T, b []byte, batch bool) {
		kind := checkMessage
		if batch {
			kind = batchMessage
		}
		ours := newFrame(kind)
		defer ours.release()
		ours.read(mem.BufferSlice{mem.SliceBuffer(b)})

		var requests []*weirv1.CheckRequest
		var err error
		if batch {
			var m weirv1.CheckBatchRequest
			err = proto.Unmarshal(b, &m)
			requests = m.GetRequests()
		} else {
			var m weirv1.CheckRequest
			err = proto.Unmarshal(b, &m)
			requests = []*weirv1.CheckRequest{&m}
		}
		if ours.err != nil {
			// The generated code may take what is in no order or of another type.
			return
		}
		if err != nil {
			if strings.Contains(err.Error(), "UTF-8") {
				return // ours looks at text later, by item, and only at what stands last
			}
			t.Fatalf("%x is taken; the generated code says %v", b, err)
		}
		if len(ours.batch.Requests) != len(requests) {
			t.Fatalf("%x is read as %d requests, by the generated code as %d", b, len(ours.batch.Requests), len(requests))
		}
		for i, r := range requests {
			want := decoded{domain: r.GetDomain(), hits: int64(r.GetHits()), peek: r.GetPeek()}
			for _, a := range r.GetAttributes() {
				if len(want.attributes) <= limiter.MaxAttributes { // one too many is enough to refuse it
					want.attributes = append(want.attributes, policy.Attribute{Key: a.GetKey(), Value: a.GetValue()})
				}
			}
			if got := ours.decoded(i); !got.equal(want) {
				t.Errorf("%x: request %d is read as %+v, by the generated code as %+v", b, i, got, want)
			}
			if want.hits > math.MaxUint32 {
				t.Errorf("request %d has %d hits", i, want.hits)
			}
		}
	})
}
