package v1

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/exportjobs"
)

// exportCalls are the operations about exports.
type exportCalls struct {
	jobs         Exports       // nil: this node keeps none
	answerWithin time.Duration // as Deps.answerWithin
}

// exports are this node's, or the problem that it keeps none.
func (s exportCalls) exports() (Exports, error) {
	if s.jobs == nil {
		return nil, door.Refuse("exports_off", "", "This node keeps no exports. Its operator turns them on with exports.dir in the configuration.")
	}
	return s.jobs, nil
}

// exportID reads the id of an export. What is none is an export that there is not.
func exportID(text string) event.ID {
	id, err := event.ParseID(text)
	if err != nil {
		return event.ID{}
	}
	return id
}

// AskExport is POST /v1/audit/exports.
func (s exportCalls) AskExport(ctx context.Context, r AskExportRequestObject) (AskExportResponseObject, error) {
	exports, err := s.exports()
	if err != nil {
		return nil, err
	}
	b := r.Body
	may := func(scope string) bool { return door.Has(ctx, scope) }
	ctx, cancel := context.WithTimeout(ctx, s.answerWithin)
	defer cancel()
	j, err := exports.Ask(ctx, callerOf(ctx), &exportjobs.Question{Recipient: b.Recipient, Country: b.Country, Message: b.Message, Reference: b.Reference, Program: b.Program,
		Rule: b.Rule, Outcome: b.Outcome, Carrier: b.Carrier, Since: b.Since, Until: b.Until, AfterStop: b.AfterStop, Reason: cmp.Or(b.Reason, r.Params.AuditReason), Clear: b.Clear,
		May: exportjobs.Shown{Message: may("messages:read"), Inbound: may("inbound:read"), Evidence: may("evidence:read")}})
	if err != nil {
		return nil, written(err)
	}
	return AskExport202JSONResponse(job(&j)), nil
}

// ListExports is GET /v1/audit/exports.
func (s exportCalls) ListExports(ctx context.Context, _ ListExportsRequestObject) (ListExportsResponseObject, error) {
	exports, err := s.exports()
	if err != nil {
		return nil, err
	}
	return ListExports200JSONResponse{Exports: all(exports.List(callerOf(ctx).Tenant), job)}, nil
}

// GetJob is GET /v1/jobs/{id}.
func (s exportCalls) GetJob(ctx context.Context, r GetJobRequestObject) (GetJobResponseObject, error) {
	exports, err := s.exports()
	if err != nil {
		return nil, err
	}
	j, err := exports.Job(callerOf(ctx).Tenant, exportID(r.Id))
	if err != nil {
		return nil, err
	}
	return GetJob200JSONResponse(job(&j)), nil
}

// DeleteJob is DELETE /v1/jobs/{id}.
func (s exportCalls) DeleteJob(ctx context.Context, r DeleteJobRequestObject) (DeleteJobResponseObject, error) {
	exports, err := s.exports()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.answerWithin)
	defer cancel()
	j, err := exports.Delete(ctx, callerOf(ctx), exportID(r.Id))
	if err != nil {
		return nil, written(err)
	}
	return DeleteJob200JSONResponse(job(&j)), nil
}

// GetExportFile is GET /v1/audit/exports/{id}/file.
func (s exportCalls) GetExportFile(ctx context.Context, r GetExportFileRequestObject) (GetExportFileResponseObject, error) {
	exports, err := s.exports()
	if err != nil {
		return nil, err
	}
	// Whoever asked for it may have had more scopes than this key.
	asked, err := exports.Job(callerOf(ctx).Tenant, exportID(r.Id))
	if err != nil {
		return nil, written(err)
	}
	for _, x := range []struct {
		shown bool
		scope string
	}{{asked.Shown.Message, "messages:read"}, {asked.Shown.Inbound, "inbound:read"}, {asked.Shown.Evidence, "evidence:read"}} {
		if x.shown {
			if err := door.Require(ctx, x.scope); err != nil {
				return nil, err
			}
		}
	}
	// To verify a large file takes a while; the audit log's time is bounded within.
	j, file, err := exports.Download(ctx, callerOf(ctx), exportID(r.Id))
	if err != nil {
		return nil, written(err)
	}
	return &exportFile{job: &j, file: file}, nil
}

// exportFile answers with the file of an export.
type exportFile struct {
	job  *exportjobs.Job
	file io.ReadCloser
}

// sendWithin bounds how long a caller may take for each piece of a file.
const (
	sendWithin = time.Minute
	sendPiece  = 1 << 20
)

// VisitGetExportFileResponse sends the file. The server bounds the time of a whole answer, which is too short
// for a large file on a slow line: here each piece has a bound of its own. Of a file that was cut off
// the length tells.
func (f *exportFile) VisitGetExportFileResponse(w http.ResponseWriter) error {
	defer f.file.Close()
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Length", strconv.FormatInt(f.job.Size, 10))
	h.Set("Content-Disposition", `attachment; filename="export-`+f.job.ID.String()+`.zip"`)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	bound := http.NewResponseController(w)
	for {
		// A writer without a deadline has no bound to move.
		if err := bound.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := io.CopyN(w, f.file, sendPiece); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func job(j *exportjobs.Job) Job {
	v := Job{Id: j.ID, Kind: "export", State: string(j.State), AskedAt: j.Asked, By: j.By, Reason: j.Reason, Scope: j.Scope.Words(), InClear: list(j.Shown.Words()),
		Heads: make([]string, len(j.Heads)), Done: j.Done, Known: j.Known, EndedAt: j.Ended, EndedBy: j.EndedBy, Why: j.Why, Waits: j.Waits, DeletedAt: j.Deleted, DeletedBy: j.DeletedBy}
	for i, h := range j.Heads {
		v.Heads[i] = h.String()
	}
	if j.SHA256 != "" {
		v.File = ExportFile{Events: j.Events, Size: j.Size, Sha256: j.SHA256, DeleteAfter: j.DeleteAfter}
	}
	return v
}
