package wire

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-io/weir/bucket"
)

// Bounds of a frame.
const (
	MaxBytes   = 1 << 20 // of a message
	MaxCharges = 8192
	MaxLimits  = 2048
)

// A Kind is what an item asks of the owner. The numbers are those of the wire protocol.
type Kind uint8

// The kinds.
const (
	Take    Kind = iota + 1 // all charges or none
	Peek                    // say whether all would fit
	Refund                  // give back what was taken, by its receipts
	Reset                   // make the buckets fresh keys'
	Release                 // free a permit, by its receipt
)

// An Item is the charges of one request at one owner, decided together.
type Item struct {
	Kind        Kind
	OnYourRight bool          // decide on your right, never pass it on
	Hop         time.Duration // the longest it may wait at this hop
	First, End  int32         // its charges are those of the frame from First to before End
}

// A Header is what a frame says of itself.
type Header struct {
	Number     uint64 // names it, for this sender's boot and this receiver's
	Done       uint64 // frames up to this number are answered or given up
	Epoch      uint64 // of the table it was routed by
	Hop        time.Duration
	Sent       time.Duration // by the sender's monotonic clock since its boot
	SenderID   string        // in the first frame of a stream, else empty
	SenderBoot uint64
}

// A Frame is a message as it was read.
type Frame struct {
	Header
	Items    []Item // each has at least one charge
	Charges  []bucket.Charge
	Receipts []uint64 // one a charge: of refunds and releases, what the answer that took said

	limits []*bucket.Rule
}

// An Encoder writes frames. Begin, then Add for each item, then Append.
type Encoder struct {
	limits, items []byte
	places        map[*bucket.Rule]uint32
	charges       int
	last          *bucket.Rule // of the charge before, and its place: neighbours often share it
	lastPlace     uint32
}

// Begin starts a frame.
func (e *Encoder) Begin() {
	if e.places == nil {
		e.places = map[*bucket.Rule]uint32{}
	}
	clear(e.places)
	e.limits, e.items, e.charges, e.last = e.limits[:0], e.items[:0], 0, nil
}

// Fits reports whether the frame has room for one more item.
func (e *Encoder) Fits(charges []bucket.Charge) bool {
	return e.charges == 0 || e.charges+len(charges) <= MaxCharges && len(e.places)+len(charges) <= MaxLimits
}

// Add appends an item. hop is how long it may wait where that is less than the frame's,
// else 0; receipts has one for each charge, or is nil.
func (e *Encoder) Add(kind Kind, onYourRight bool, hop time.Duration, charges []bucket.Charge, receipts []uint64) {
	receipt := func(i int) uint64 {
		if receipts == nil {
			return 0
		}
		return receipts[i]
	}
	size := 2 // kind
	if onYourRight {
		size += 2
	}
	if hop > 0 {
		size += 1 + protowire.SizeVarint(micros(hop))
	}
	for i := range charges {
		size += protowire.SizeTag(2) + protowire.SizeBytes(e.sizeCharge(&charges[i], receipt(i)))
	}
	b := append(e.items, bytes6)
	b = protowire.AppendVarint(b, uint64(size))
	b = append(b, varint1, byte(kind))
	for i := range charges {
		b = e.appendCharge(append(b, bytes2), &charges[i], receipt(i))
	}
	if onYourRight {
		b = append(b, varint3, 1)
	}
	if hop > 0 {
		b = protowire.AppendVarint(append(b, varint4), micros(hop))
	}
	e.items = b
	e.charges += len(charges)
}

// sizeCharge returns the bytes of a charge without its length, and gives its limit a
// place in the frame.
func (e *Encoder) sizeCharge(c *bucket.Charge, receipt uint64) int {
	size := 18 + 1 + protowire.SizeVarint(uint64(e.place(c.Rule)))
	if c.Hits != 0 {
		size += 1 + protowire.SizeVarint(uint64(c.Hits))
	}
	if c.Shadow {
		size += 2
	}
	if receipt != 0 {
		size += 9
	}
	return size
}

func (e *Encoder) appendCharge(b []byte, c *bucket.Charge, receipt uint64) []byte {
	b = protowire.AppendVarint(b, uint64(e.sizeCharge(c, receipt)))
	b = protowire.AppendFixed64(append(b, fixed1), c.Hash.Hi)
	b = protowire.AppendFixed64(append(b, fixed2), c.Hash.Lo)
	b = protowire.AppendVarint(append(b, varint3), uint64(e.place(c.Rule)))
	if c.Hits != 0 {
		b = protowire.AppendVarint(append(b, varint4), uint64(c.Hits))
	}
	if c.Shadow {
		b = append(b, varint5, 1)
	}
	if receipt != 0 {
		b = protowire.AppendFixed64(append(b, fixed6), receipt)
	}
	return b
}

// place returns where a limit stands in the frame's list, and writes it there first.
func (e *Encoder) place(r *bucket.Rule) uint32 {
	if r == e.last {
		return e.lastPlace
	}
	at, ok := e.places[r]
	if !ok {
		at = uint32(len(e.places))
		e.places[r] = at
		e.limits = appendLimit(e.limits, r)
	}
	e.last, e.lastPlace = r, at
	return at
}

// Size returns about how many bytes Append appends: no fewer, but for a sender's name.
func (e *Encoder) Size() int { return len(e.limits) + len(e.items) + headerBytes }

// headerBytes is the most that the numbers of a header take.
const headerBytes = 5 * (1 + 10)

// Append appends the whole frame.
func (e *Encoder) Append(b []byte, h *Header) []byte {
	b = protowire.AppendVarint(append(b, varint1), h.Number)
	b = protowire.AppendVarint(append(b, varint2), h.Epoch)
	b = protowire.AppendVarint(append(b, varint3), micros(h.Hop))
	b = protowire.AppendVarint(append(b, varint4), micros(h.Sent))
	b = append(append(b, e.limits...), e.items...)
	b = protowire.AppendVarint(append(b, varint7), h.Done)
	if h.SenderID != "" {
		size := 1 + protowire.SizeBytes(len(h.SenderID)) + 1 + protowire.SizeVarint(h.SenderBoot)
		b = protowire.AppendVarint(append(b, bytes8), uint64(size))
		b = protowire.AppendString(append(b, bytes1), h.SenderID)
		b = protowire.AppendVarint(append(b, varint2), h.SenderBoot)
	}
	return b
}

// errMalformed is wrapped by all errors of reading.
var errMalformed = errors.New("malformed")

// Read reads a message into f, whose memory is reused. Limits come from rules. After an
// error f is of no use.
func (f *Frame) Read(b []byte, rules *Rules) error {
	f.Header, f.Items, f.Charges, f.Receipts, f.limits = Header{}, f.Items[:0], f.Charges[:0], f.Receipts[:0], f.limits[:0]
	if len(b) > MaxBytes {
		return fmt.Errorf("%w frame: %d bytes are more than %d", errMalformed, len(b), MaxBytes)
	}
	// Items name limits by place: those are read first, wherever they stand.
	err := walk(b, func(num protowire.Number, v field) error { return f.readHeader(num, v, rules) })
	if err == nil {
		err = walk(b, func(num protowire.Number, v field) error {
			if num == 6 && v.raw != nil {
				return f.readItem(v.raw)
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("frame: %w", err)
	}
	for i := range f.Items {
		if hop := &f.Items[i].Hop; *hop == 0 || *hop > f.Hop {
			*hop = f.Hop
		}
	}
	return nil
}

func (f *Frame) readHeader(num protowire.Number, v field, rules *Rules) error {
	switch {
	case num == 5 && v.raw != nil:
		if len(f.limits) == MaxLimits {
			return fmt.Errorf("%w: more than %d limits", errMalformed, MaxLimits)
		}
		rule, err := rules.read(v.raw)
		if err != nil {
			return err
		}
		f.limits = append(f.limits, rule)
	case num == 8 && v.raw != nil:
		return walk(v.raw, func(num protowire.Number, v field) error {
			switch {
			case num == 1 && v.raw != nil:
				f.SenderID = string(v.raw)
			case num == 2 && v.raw == nil:
				f.SenderBoot = v.n
			}
			return nil
		})
	case v.raw != nil:
	case num == 1:
		f.Number = v.n
	case num == 2:
		f.Epoch = v.n
	case num == 3:
		f.Hop = duration(v.n)
	case num == 4:
		f.Sent = duration(v.n)
	case num == 7:
		f.Done = v.n
	}
	return nil
}

func (f *Frame) readItem(b []byte) error {
	it := Item{First: int32(len(f.Charges))}
	for len(b) > 0 {
		num, v, n := next(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		switch {
		case num == 2 && v.raw != nil:
			if len(f.Charges) == MaxCharges {
				return fmt.Errorf("%w: more than %d charges", errMalformed, MaxCharges)
			}
			if err := f.readCharge(v.raw); err != nil {
				return err
			}
		case v.raw != nil:
		case num == 1:
			it.Kind = Kind(min(v.n, math.MaxUint8))
		case num == 3:
			it.OnYourRight = v.n != 0
		case num == 4:
			it.Hop = duration(v.n)
		}
	}
	it.End = int32(len(f.Charges))
	if it.Kind < Take || it.Kind > Release || it.First == it.End {
		return fmt.Errorf("%w: an item of kind %d with %d charges", errMalformed, it.Kind, it.End-it.First)
	}
	f.Items = append(f.Items, it)
	return nil
}

func (f *Frame) readCharge(b []byte) error {
	var c bucket.Charge
	var limit, receipt uint64
	for len(b) > 0 {
		num, v, n := next(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		switch {
		case v.raw != nil:
		case num == 1:
			c.Hash.Hi = v.n
		case num == 2:
			c.Hash.Lo = v.n
		case num == 3:
			limit = v.n
		case num == 4:
			c.Hits = int64(min(v.n, math.MaxUint32))
		case num == 5:
			c.Shadow = v.n != 0
		case num == 6:
			receipt = v.n
		}
	}
	if limit >= uint64(len(f.limits)) {
		return fmt.Errorf("%w: a charge of limit %d of %d", errMalformed, limit, len(f.limits))
	}
	c.Rule = f.limits[limit]
	f.Charges, f.Receipts = append(f.Charges, c), append(f.Receipts, receipt)
	return nil
}
