package policystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// A draft is a change tried out on the documents in force.
type draft struct {
	changed  []*policy.Document // the documents of the change, parsed
	after    []*policy.Document // all documents after it, sorted by domain
	snapshot *policy.Snapshot
	warnings []string
}

// maxProblems is how many problems of documents are told before the rest is not looked at.
const maxProblems = 100

// try parses the documents of a change and compiles what they would make of was. Its
// error is policy.Problems where the documents are to blame.
func (s *Store) try(was *inForce, version uint64, secret policy.Secret, change *weirv1.ChangePolicies) (*draft, error) {
	d := &draft{after: slices.Clone(was.docs)}
	var problems policy.Problems
	files := make(map[string]string, len(change.GetDocuments()))
	for i, in := range change.GetDocuments() {
		file := in.GetFile()
		if file == "" && len(change.GetDocuments()) > 1 {
			file = fmt.Sprintf("documents[%d]", i)
		}
		if len(problems) >= maxProblems {
			problems = append(problems, policy.Problem{Message: fmt.Sprintf("and the %d documents from the %d. on were not looked at: mend these first", len(change.GetDocuments())-i, i+1)})
			break
		}
		doc, err := s.tryDocument(file, in)
		var ps policy.Problems
		switch {
		case errors.As(err, &ps):
			problems = append(problems, ps...)
			continue
		case err != nil:
			return nil, err
		}
		if other, twice := files[doc.Domain]; twice {
			problems = append(problems, policy.Problem{File: file, Path: "domain", Message: fmt.Sprintf("%q is the domain of %s too: write one document a domain", doc.Domain, other)})
			continue
		}
		files[doc.Domain] = file
		d.changed = append(d.changed, doc)
		d.replace(doc)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	var err error
	d.snapshot, d.warnings, err = compile(was.snapshot, d.after, version, secret)
	return d, err
}

func (s *Store) tryDocument(file string, in *weirv1.Document) (*policy.Document, error) {
	if len(in.GetText()) > policy.MaxDocument {
		return nil, policy.Problems{{File: file, Message: fmt.Sprintf("the document has %d bytes: at most %d, split it by domain", len(in.GetText()), policy.MaxDocument)}}
	}
	doc := s.drafts.take(func(doc *policy.Document) bool { return doc.File == file && string(doc.Text) == in.GetText() })
	if doc == nil {
		var err error
		if doc, err = parse(file, []byte(in.GetText())); err != nil {
			return nil, err
		}
	}
	if in.GetDomain() != "" && in.GetDomain() != doc.Domain {
		return nil, policy.Problems{{File: file, Path: "domain", Message: fmt.Sprintf("the text says %q, the request %q: make them the same", doc.Domain, in.GetDomain())}}
	}
	return doc, nil
}

// replace puts doc in its domain's place among the documents after the change. One
// without policies empties its domain.
func (d *draft) replace(doc *policy.Document) {
	i, there := slices.BinarySearchFunc(d.after, doc.Domain, func(o *policy.Document, domain string) int { return strings.Compare(o.Domain, domain) })
	switch {
	case len(doc.Policies) == 0 && there:
		d.after = slices.Delete(d.after, i, i+1)
	case len(doc.Policies) == 0:
	case there:
		d.after[i] = doc
	default:
		d.after = slices.Insert(d.after, i, doc)
	}
}

// Plan says what Apply would do, by what this node has applied. An error in the
// documents is of type policy.Problems; ErrStale says that if_version is not the
// version in force.
func (s *Store) Plan(change *weirv1.ChangePolicies) (plan []policy.PlanEntry, warnings []string, err error) {
	was := s.force.Load()
	if change.IfVersion != nil && change.GetIfVersion() != was.snapshot.Version {
		return nil, nil, fmt.Errorf("plan: the policies are at version %d, not %d: %w", was.snapshot.Version, change.GetIfVersion(), ErrStale)
	}
	d, err := s.try(was, was.snapshot.Version+1, was.state.secret(), change)
	if err != nil {
		return nil, nil, err
	}
	for _, doc := range d.changed {
		var old *policy.Document
		if i, there := was.state.find(doc.Domain); there {
			old = was.docs[i]
		}
		plan = append(plan, policy.Diff(old, doc)...)
	}
	s.drafts.put(d.changed)
	return plan, d.warnings, nil
}

// dryRun checks a change at the leader on all that was committed before, fills
// in what only the leader knows, and returns why it must not be appended; nil = it may.
func (s *Store) dryRun(ctx context.Context, change *weirv1.ChangePolicies) (refused *weirv1.CommandResult, err error) {
	st := s.applied.Load()
	change.TimeNanos = s.cfg.Clock.Now()
	if err := s.await(ctx, func() bool { return s.tried.Load() >= st.version }); err != nil {
		return nil, err
	}
	// Where the newest version does not compile here this is an older one: a change
	// must stay possible, it may be the remedy.
	was := s.force.Load()
	d, err := s.try(was, st.version+1, st.secret(), change)
	if err != nil {
		return st.refuse(codes.InvalidArgument, "%v", err), nil
	}
	for i, doc := range d.changed {
		in := change.GetDocuments()[i]
		in.Domain = doc.Domain
		if len(doc.Policies) == 0 {
			in.Text = "" // in the log, no text empties a domain: it need not parse to know
		}
	}
	if refused := st.checkChange(change); refused != nil {
		return refused, nil
	}
	s.drafts.put(d.changed)
	return nil, nil
}

// drafts keeps the documents that were parsed last, for a plan or the leader's dry run,
// until the change goes on or comes back through the log: large ones are parsed once.
type drafts struct {
	mu   sync.Mutex
	docs []*policy.Document // guarded by mu
}

func (d *drafts) put(docs []*policy.Document) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.docs = slices.Clone(docs)
}

// take returns the draft that is meant, once, or nil. Whoever took it owns it.
func (d *drafts) take(meant func(*policy.Document) bool) *policy.Document {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.docs, meant)
	if i < 0 {
		return nil
	}
	doc := d.docs[i]
	d.docs = slices.Delete(d.docs, i, i+1)
	return doc
}
