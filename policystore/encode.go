package policystore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// A state is written as a magic line, records and a checksum of all before it: raft's
// snapshots and the last-good bundle are such files. A record is its kind, the length
// of its message as a varint, and the message. Kinds that are not known are skipped, so
// that an older version reads what a newer one wrote.
const stateMagic = "weir state 1\n"

// The kinds of records.
const (
	recordPosition = 1 // a uint64, big-endian: index of the newest entry
	recordCluster  = 2 // an InitCluster
	recordVersion  = 3 // a CommandResult with the policy version
	recordDocument = 4 // a Document, one each
	recordChange   = 5 // a ChangePolicies of the history, oldest first
	recordTable    = 6 // a ChangeTable whose from_epoch is the table's epoch
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("checksum or frame is wrong: it is damaged or cut short")

// encodeState writes a state down. Equal states give equal bytes.
func encodeState(st *state) ([]byte, error) {
	b := []byte(stateMagic)
	record := func(kind byte, payload []byte) {
		b = append(b, kind)
		b = binary.AppendUvarint(b, uint64(len(payload)))
		b = append(b, payload...)
	}
	record(recordPosition, binary.BigEndian.AppendUint64(nil, st.index))
	var failed error
	message := func(kind byte, m proto.Message) {
		payload, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("encode record of kind %d: %w", kind, err))
			return
		}
		record(kind, payload)
	}
	if st.cluster != nil {
		message(recordCluster, st.cluster)
	}
	message(recordVersion, &weirv1.CommandResult{PolicyVersion: st.version})
	for _, d := range st.docs {
		message(recordDocument, d)
	}
	for _, c := range st.history {
		message(recordChange, c)
	}
	members, rows := TableToProto(st.table)
	message(recordTable, &weirv1.ChangeTable{FromEpoch: st.table.Epoch, Members: members, Rows: rows})
	if failed != nil {
		return nil, failed
	}
	return sum(b), nil
}

// sum appends the checksum of b.
func sum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeState reads what encodeState wrote.
func decodeState(b []byte) (*state, error) {
	if len(b) < len(stateMagic)+crc32.Size || !bytes.HasPrefix(b, []byte(stateMagic)) {
		return nil, errDamaged
	}
	body, sum := b[:len(b)-crc32.Size], b[len(b)-crc32.Size:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, errDamaged
	}
	st := newState()
	for rest := body[len(stateMagic):]; len(rest) > 0; {
		kind := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errDamaged
		}
		payload := rest[1+n : 1+n+int(size)]
		rest = rest[1+n+int(size):]
		if err := st.addRecord(kind, payload); err != nil {
			return nil, fmt.Errorf("record of kind %d: %w", kind, err)
		}
	}
	sorted := slices.IsSortedFunc(st.docs, func(a, b *weirv1.Document) int { return strings.Compare(a.GetDomain(), b.GetDomain()) })
	if !sorted {
		return nil, errors.New("documents are not sorted by domain")
	}
	return st, nil
}

// addRecord puts one record into a state that is being read.
func (st *state) addRecord(kind byte, payload []byte) error {
	switch kind {
	case recordPosition:
		if len(payload) != 8 {
			return errDamaged
		}
		st.index = binary.BigEndian.Uint64(payload)
	case recordCluster:
		st.cluster = new(weirv1.InitCluster)
		return proto.Unmarshal(payload, st.cluster)
	case recordVersion:
		var v weirv1.CommandResult
		if err := proto.Unmarshal(payload, &v); err != nil {
			return err
		}
		st.version = v.GetPolicyVersion()
	case recordDocument:
		d := new(weirv1.Document)
		st.docs = append(st.docs, d)
		return proto.Unmarshal(payload, d)
	case recordChange:
		c := new(weirv1.ChangePolicies)
		st.history = append(st.history, c)
		return proto.Unmarshal(payload, c)
	case recordTable:
		var c weirv1.ChangeTable
		if err := proto.Unmarshal(payload, &c); err != nil {
			return err
		}
		t, err := TableFromProto(c.GetFromEpoch(), c.GetMembers(), c.GetRows())
		if err != nil {
			return err
		}
		st.table = t
	}
	return nil
}
