package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// The JSON of policies, in the words of weir.v1.Admin.
type (
	documentJSON struct {
		Domain  string `json:"domain"`
		Version uint64 `json:"version"`
		File    string `json:"file,omitempty"`
		Text    string `json:"text"`
	}
	policiesJSON struct {
		Documents     []documentJSON `json:"documents"`
		PolicyVersion uint64         `json:"policy_version"`
		PolicyHash    string         `json:"policy_hash"`
	}
	planEntryJSON struct {
		Domain    string   `json:"domain"`
		Policy    string   `json:"policy"`
		Action    string   `json:"action"`
		Changes   []string `json:"changes,omitempty"`
		FreshKeys string   `json:"fresh_keys,omitempty"`
	}
	appliedJSON struct {
		PolicyVersion uint64          `json:"policy_version"`
		Plan          []planEntryJSON `json:"plan"`
		Warnings      []string        `json:"warnings"`
	}
)

func (h *HTTP) listPolicies(w http.ResponseWriter, _ *http.Request) {
	got, err := h.cfg.Admin.policies("")
	if err != nil {
		writeError(w, err)
		return
	}
	out := policiesJSON{Documents: []documentJSON{}, PolicyVersion: got.GetPolicyVersion(), PolicyHash: got.GetPolicyHash()}
	for _, d := range got.GetDocuments() {
		out.Documents = append(out.Documents, documentJSON{Domain: d.GetDomain(), Version: d.GetVersion(), File: d.GetFile(), Text: d.GetText()})
	}
	w.Header().Set("ETag", etag(got.GetPolicyVersion()))
	writeJSON(w, http.StatusOK, "application/json", out)
}

// getPolicies answers with a document as it was written.
func (h *HTTP) getPolicies(w http.ResponseWriter, r *http.Request) {
	got, err := h.cfg.Admin.policies(r.PathValue("domain"))
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("ETag", etag(got.GetPolicyVersion()))
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write([]byte(got.GetDocuments()[0].GetText())) // the client is gone: nobody to tell
}

// putPolicies makes the body the policies of the domain, or plans it.
func (h *HTTP) putPolicies(w http.ResponseWriter, r *http.Request) {
	in, bad := changeOf(r)
	if bad != nil {
		writeError(w, bad)
		return
	}
	text, bad := readAll(w, r, policy.MaxDocument, nil)
	if bad != nil {
		writeError(w, bad)
		return
	}
	in.Documents = []*weirv1.Document{{Domain: r.PathValue("domain"), Text: string(text)}}
	got, bad := h.cfg.Admin.apply(r.Context(), in)
	if bad != nil {
		writeError(w, bad)
		return
	}
	out := appliedJSON{PolicyVersion: got.GetPolicyVersion(), Plan: []planEntryJSON{}, Warnings: append([]string{}, got.GetWarnings()...)}
	for _, p := range got.GetPlan() {
		out.Plan = append(out.Plan, planEntryJSON{
			Domain: p.GetDomain(), Policy: p.GetPolicy(), Changes: p.GetChanges(), FreshKeys: p.GetFreshKeys(),
			Action: strings.ToLower(strings.TrimPrefix(p.GetAction().String(), "ACTION_")),
		})
	}
	w.Header().Set("ETag", etag(got.GetPolicyVersion()))
	writeJSON(w, http.StatusOK, "application/json", out)
}

// etag names a policy version.
func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// changeOf reads what the query and If-Match say of a change.
func changeOf(r *http.Request) (*weirv1.ApplyPoliciesRequest, *limiter.Error) {
	in := &weirv1.ApplyPoliciesRequest{}
	bad := func(field, format string, args ...any) (*weirv1.ApplyPoliciesRequest, *limiter.Error) {
		return nil, &limiter.Error{Code: limiter.InvalidArgument, Field: field, Message: fmt.Sprintf(format, args...)}
	}
	query, err := url.ParseQuery(r.URL.RawQuery) // unlike Query it says what it cannot read: it may have been dry_run
	if err != nil {
		return bad("", "the query cannot be read: %v: part parameters by & and escape what is special in them", err)
	}
	for name, values := range query {
		var err error
		switch value := values[0]; name {
		case "dry_run":
			in.DryRun, err = strconv.ParseBool(value)
		case "if_version":
			var version uint64
			version, err = strconv.ParseUint(value, 10, 64)
			in.IfVersion = &version
		case "actor":
			in.Actor = value
		case "change_reason":
			in.ChangeReason = value
		default:
			return bad(name, "is no parameter: there are dry_run, if_version, actor and change_reason")
		}
		if err != nil || len(values) > 1 {
			return bad(name, "%q cannot be read: give dry_run=1 or if_version=N, once", strings.Join(values, " "))
		}
	}
	if match := r.Header.Get("If-Match"); match != "" && match != "*" {
		version, err := strconv.ParseUint(strings.Trim(match, `"`), 10, 64)
		if err != nil || in.IfVersion != nil && in.GetIfVersion() != version {
			return bad("If-Match", "%q is not the policy version that the change is for: send the ETag of GET /v1/policies back", match)
		}
		in.IfVersion = &version
	}
	return in, nil
}
