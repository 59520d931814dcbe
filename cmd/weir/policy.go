package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/user"
	"strings"

	"google.golang.org/grpc"

	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

type policyCmd struct {
	Validate validateCmd `cmd:"" help:"Check documents, offline."`
	Apply    applyCmd    `cmd:"" help:"Make documents the policies of their domains."`
	Get      getCmd      `cmd:"" help:"Print the documents in force."`
	Diff     diffCmd     `cmd:"" help:"Show what applying documents would change."`
}

type validateCmd struct{ fileArgs }

// Help is shown by --help.
func (validateCmd) Help() string {
	return `Reports every problem with file, line and remedy; needs no node. Exits 0 when all documents can be applied together, 1 when not.

Example:

  weir policy validate policies/`
}

// Run validates.
func (c *validateCmd) Run(s *streams) error {
	texts, err := readDocuments(c.Files, s.in)
	if err != nil {
		return err
	}
	docs, warnings, problems := load(texts)
	if s.json {
		if err := s.printJSON(map[string]any{"valid": len(problems) == 0, "problems": append(policy.Problems{}, problems...), "warnings": append([]string{}, warnings...)}); err != nil {
			return err
		}
		if len(problems) > 0 {
			return &exitCode{code: exitError}
		}
		return nil
	}
	for _, w := range warnings {
		s.note("warning: %s", w)
	}
	if len(problems) > 0 {
		return problems
	}
	for _, d := range docs {
		s.printf("%s: domain %s, valid\n", d.File, d.Domain)
	}
	return nil
}

// fileArgs name documents.
type fileArgs struct {
	Files []string `arg:"" placeholder:"FILE" help:"Documents, folders of them, or - for standard input."`
}

// documents reads the documents and checks them here first, where their lines are known.
func (f *fileArgs) documents(s *streams) ([]*weirv1.Document, error) {
	texts, err := readDocuments(f.Files, s.in)
	if err != nil {
		return nil, err
	}
	return loaded(texts)
}

type applyCmd struct {
	nodeFlags
	fileArgs
	Yes       bool    `short:"y" help:"Do not ask."`
	DryRun    bool    `help:"Print the plan only."`
	IfVersion *uint64 `placeholder:"N" help:"Refuse unless this is the current policy version."`
	Reason    string  `placeholder:"TEXT" help:"Why, for the history."`
}

// Help is shown by --help.
func (applyCmd) Help() string {
	return `Prints the plan and asks. A document is one domain, whole: what it lacks goes, other domains stay. Nothing is applied where another change came between the plan and the answer.

Exits 0 when the documents are in force, or were before, 1 when they are refused or the answer is no.

Examples:

  weir policy apply policies/ --dry-run
  weir policy apply shop-api.yaml --yes --reason "double the pace of gold"`
}

// Run plans, asks and applies.
func (c *applyCmd) Run(ctx context.Context, s *streams) error {
	if !c.Yes && !c.DryRun && fromStdin(c.Files) {
		return usage("standard input is the document, so it cannot be asked: give --yes")
	}
	docs, err := c.documents(s)
	if err != nil {
		return err
	}
	req := &weirv1.ApplyPoliciesRequest{Documents: docs, DryRun: true, IfVersion: c.IfVersion, Actor: actor(), ChangeReason: c.Reason}
	plan, err := c.apply(ctx, req)
	if err != nil {
		return err
	}
	if !s.json || !c.DryRun && !c.Yes {
		printPlan(s, plan)
	}
	if c.DryRun || len(plan.GetPlan()) == 0 {
		return s.planJSON(plan, false)
	}
	if !c.Yes {
		agreed, err := ask(ctx, s, "Apply? [y/N] ")
		if err != nil {
			return err
		}
		if !agreed {
			return errors.New("nothing applied")
		}
	}
	req.DryRun, req.IfVersion = false, new(plan.GetPolicyVersion())
	done, err := c.apply(ctx, req)
	if err != nil {
		return err
	}
	if !s.json {
		s.printf("applied: policy version %d\n", done.GetPolicyVersion())
	}
	return s.planJSON(done, true)
}

// apply calls the node.
func (n *nodeFlags) apply(ctx context.Context, req *weirv1.ApplyPoliciesRequest) (r *weirv1.ApplyPoliciesResponse, err error) {
	err = n.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = weirv1.NewAdminClient(conn).ApplyPolicies(ctx, req)
		return err
	})
	return r, err
}

// actor returns who runs the command, for the history.
func actor() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "weir policy apply"
}

// ask asks a person, who may also end ctx.
func ask(ctx context.Context, s *streams, question string) (bool, error) {
	s.printf("%s", question)
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	// Reading cannot be cut short; where ctx ends first the process ends with it.
	go func() {
		line, err := bufio.NewReader(s.in).ReadString('\n')
		answers <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		s.printf("\n")
		return false, errors.New("stopped: nothing applied")
	case a := <-answers:
		if a.err != nil && a.line == "" {
			s.printf("\n")
			return false, usage("nobody answers on standard input: give --yes")
		}
		word := strings.ToLower(strings.TrimSpace(a.line))
		return word == "y" || word == "yes", nil
	}
}

// printPlan says what changes.
func printPlan(s *streams, r *weirv1.ApplyPoliciesResponse) {
	for _, w := range r.GetWarnings() {
		s.note("warning: %s", w)
	}
	if len(r.GetPlan()) == 0 {
		s.printf("nothing changes: policy version %d is the same\n", r.GetPolicyVersion())
		return
	}
	signs := map[weirv1.PlanEntry_Action]string{weirv1.PlanEntry_ACTION_ADD: "+", weirv1.PlanEntry_ACTION_CHANGE: "~", weirv1.PlanEntry_ACTION_REMOVE: "-"}
	counts := map[weirv1.PlanEntry_Action]int{}
	for _, e := range r.GetPlan() {
		counts[e.GetAction()]++
		s.printf("%s %s/%s\n", signs[e.GetAction()], e.GetDomain(), e.GetPolicy())
		for _, c := range e.GetChanges() {
			s.printf("    %s\n", c)
		}
		if e.GetFreshKeys() != "" {
			s.printf("    keys start fresh: %s\n", e.GetFreshKeys())
		}
	}
	s.printf("%d to add, %d to change, %d to remove\n", counts[weirv1.PlanEntry_ACTION_ADD], counts[weirv1.PlanEntry_ACTION_CHANGE], counts[weirv1.PlanEntry_ACTION_REMOVE])
}

// planJSON prints a plan where JSON is wanted.
func (s *streams) planJSON(r *weirv1.ApplyPoliciesResponse, applied bool) error {
	if !s.json {
		return nil
	}
	type entryJSON struct {
		Domain    string   `json:"domain"`
		Policy    string   `json:"policy"`
		Action    string   `json:"action"`
		Changes   []string `json:"changes,omitempty"`
		FreshKeys string   `json:"fresh_keys,omitempty"`
	}
	plan := make([]entryJSON, 0, len(r.GetPlan()))
	for _, e := range r.GetPlan() {
		plan = append(plan, entryJSON{e.GetDomain(), e.GetPolicy(), word(e.GetAction(), "ACTION_"), e.GetChanges(), e.GetFreshKeys()})
	}
	return s.printJSON(map[string]any{"policy_version": r.GetPolicyVersion(), "applied": applied, "plan": plan, "warnings": append([]string{}, r.GetWarnings()...)})
}

type getCmd struct {
	nodeFlags
	Domain string `arg:"" optional:"" help:"One domain; all without it."`
}

// Help is shown by --help.
func (getCmd) Help() string {
	return `Prints the YAML as it was written, so that it can be edited and applied again.

Example:

  weir policy get shop-api > shop-api.yaml`
}

// Run prints the documents.
func (c *getCmd) Run(ctx context.Context, s *streams) error {
	var r *weirv1.GetPoliciesResponse
	err := c.call(ctx, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = weirv1.NewAdminClient(conn).GetPolicies(ctx, &weirv1.GetPoliciesRequest{Domain: c.Domain})
		return err
	})
	if err != nil {
		return err
	}
	if c.Domain != "" && len(r.GetDocuments()) == 0 {
		return fmt.Errorf("domain %q has no document: weir policy get shows all", c.Domain)
	}
	if s.json {
		type documentJSON struct {
			Domain  string `json:"domain"`
			Version uint64 `json:"version"`
			Text    string `json:"text"`
		}
		docs := make([]documentJSON, 0, len(r.GetDocuments()))
		for _, d := range r.GetDocuments() {
			docs = append(docs, documentJSON{d.GetDomain(), d.GetVersion(), d.GetText()})
		}
		return s.printJSON(map[string]any{"policy_version": r.GetPolicyVersion(), "policy_hash": r.GetPolicyHash(), "documents": docs})
	}
	for i, d := range r.GetDocuments() {
		if i > 0 {
			s.printf("---\n")
		}
		s.printf("%s\n", strings.TrimRight(d.GetText(), "\n"))
	}
	return nil
}

type diffCmd struct {
	nodeFlags
	fileArgs
}

// Help is shown by --help.
func (diffCmd) Help() string {
	return `Exits 0 when applying would change nothing, 3 when it would, 1 when it would be refused.

Example:

  weir policy diff policies/ || echo "not what runs"`
}

// Run plans and prints.
func (c *diffCmd) Run(ctx context.Context, s *streams) error {
	docs, err := c.documents(s)
	if err != nil {
		return err
	}
	plan, err := c.apply(ctx, &weirv1.ApplyPoliciesRequest{Documents: docs, DryRun: true, Actor: actor()})
	if err != nil {
		return err
	}
	if !s.json {
		printPlan(s, plan)
	}
	if err := s.planJSON(plan, false); err != nil {
		return err
	}
	if len(plan.GetPlan()) > 0 {
		return denied
	}
	return nil
}
