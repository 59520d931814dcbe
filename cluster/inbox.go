package cluster

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Bounds of what this node remembers of the frames of one sender.
const (
	maxRemembered = 64
	maxAnswers    = 4 << 20     // bytes of answers
	rememberTime  = time.Second // behind the time of the frame
)

// An inbox is what this node remembers of the frames of one sender's process: the answers
// to the newest, so that a frame sent again is not decided again, and how old frames are
// when they arrive.
type inbox struct {
	mu        sync.Mutex
	frames    []*received // guarded by mu, like all below; in order of arrival
	forgotten uint64      // frames up to this number are not known any more
	bytes     int         // of all answers
	delay     delay
}

// received is a frame and the answers to it so far.
type received struct {
	number uint64
	until  time.Duration // when it may be forgotten, since the process began
	parts  [][]byte
	out    *outlet // of the stream it came on last
	gone   bool    // forgotten: what comes of it is sent, and not kept
}

// An outlet is where answers of one stream go.
type outlet struct {
	mu     sync.Mutex
	stream grpc.ServerStream
}

func (o *outlet) send(b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stream.SendMsg(&raw{b})
}

// A fate is what must be done with a frame.
type fate uint8

const (
	isNew   fate = iota // decide it
	isKnown             // it was decided: send the answers once more
	isStale             // it may have been decided: nobody knows
)

// begin notes a frame, which waits for its answers until a time, and says what must be
// done with it. Of a known frame it returns the answers so far; those to come go to out.
func (b *inbox) begin(number, done uint64, now, until time.Duration, out *outlet) (*received, fate, [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(done, now)
	if number <= b.forgotten {
		return nil, isStale, nil
	}
	for _, r := range b.frames {
		if r.number == number {
			r.out = out
			return r, isKnown, slices.Clone(r.parts)
		}
	}
	r := &received{number: number, until: until + rememberTime, out: out}
	b.frames = append(b.frames, r)
	return r, isNew, nil
}

// add notes a part of a frame's answer and returns where to send it.
func (b *inbox) add(r *received, part []byte) *outlet {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !r.gone {
		r.parts = append(r.parts, part)
		b.bytes += len(part)
	}
	return r.out
}

// forget drops frames that the sender does not ask for any more, those whose time is
// over, and the oldest of too many. A number once forgotten stays so. mu is held.
func (b *inbox) forget(done uint64, now time.Duration) {
	b.frames = slices.DeleteFunc(b.frames, func(r *received) bool {
		old := r.number <= done || now >= r.until
		if old {
			b.drop(r)
		}
		return old
	})
	for len(b.frames) >= maxRemembered || b.bytes > maxAnswers && len(b.frames) > 0 {
		b.drop(b.frames[0])
		b.frames = slices.Delete(b.frames, 0, 1)
	}
}

func (b *inbox) drop(r *received) {
	b.forgotten, r.gone = max(b.forgotten, r.number), true
	for _, part := range r.parts {
		b.bytes -= len(part)
	}
}

// age returns how much longer than the quickest frame of the last minute one took that
// was sent at sent, by its sender's clock, and arrived at now, by this one's: both count
// from the beginning of their process.
func (b *inbox) age(sent, now time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.delay.over(now-sent, now)
}

// A delay is the least difference between two clocks seen lately: their offset and the
// quickest way. The zero delay has seen none.
type delay struct {
	before, least time.Duration // of the last whole span, and of the present one
	began         time.Duration // of the present span
	spans         int           // seen so far, at most 2
}

const delaySpan = 30 * time.Second

// over notes a difference and returns by how much it exceeds the least.
func (d *delay) over(diff, now time.Duration) time.Duration {
	switch {
	case d.spans == 0:
		d.before, d.least, d.began, d.spans = diff, diff, now, 1
	case now-d.began >= 2*delaySpan: // nothing came for a whole span
		d.before, d.least, d.began = diff, diff, now
	case now-d.began >= delaySpan:
		d.before, d.least, d.began = d.least, diff, now
	}
	d.least = min(d.least, diff)
	return diff - min(d.least, d.before)
}

// inboxes has one inbox for every sender's process.
type inboxes struct {
	mu   sync.Mutex
	byID map[string]*bootInbox // guarded by mu
}

type bootInbox struct {
	boot    uint64
	streams int // open ones
	inbox   inbox
}

// maxInboxes bounds how many senders are remembered that have no stream open.
const maxInboxes = 4096

// open returns the inbox of a sender's process for one more stream, nil while a newer
// process of that node has one open. Without one the older may be the newer: a node whose
// data was lost counts its boots anew.
func (s *inboxes) open(id string, boot uint64) *bootInbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.byID[id]
	switch {
	case b != nil && b.boot > boot && b.streams > 0:
		return nil
	case b == nil || b.boot != boot:
		if s.byID == nil {
			s.byID = map[string]*bootInbox{}
		}
		if len(s.byID) >= maxInboxes {
			for old, o := range s.byID {
				if o.streams == 0 {
					delete(s.byID, old)
				}
			}
		}
		b = &bootInbox{boot: boot}
		s.byID[id] = b
	}
	b.streams++
	return b
}

func (s *inboxes) close(b *bootInbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.streams--
}
