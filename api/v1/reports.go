package v1

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/report"
)

// Reports make reports; report.Maker does. An error is a *ledger.Refusal, or a fault of ours.
type Reports interface {
	Make(ctx context.Context, tenant string, ask report.Ask) (*report.Report, error)
}

// reporting answers for reports.
type reporting struct {
	maker  Reports
	within time.Duration // how long one may take
}

// GetReport is GET /v1/audit/reports/{period}.
func (s reporting) GetReport(ctx context.Context, r GetReportRequestObject) (GetReportResponseObject, error) {
	switch r.Params.Format {
	case "", "json", "csv", "html", "text":
	default:
		return nil, door.Refuse("bad_parameter", "", "The parameter format is json, csv, html or text.")
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	made, err := s.maker.Make(ctx, callerOf(ctx).Tenant, report.Ask{Kind: report.Kind(r.Period), Of: r.Params.Of, Zone: r.Params.Zone, Operator: door.Has(ctx, "operate")})
	if err != nil {
		return nil, err
	}
	name := "report-" + made.Tenant + "-" + string(made.Period.Kind) + "-" + made.Period.First
	var b bytes.Buffer
	switch r.Params.Format {
	case "csv":
		if err := made.CSV(&b); err != nil {
			return nil, err
		}
		return reportFile{"text/csv; charset=utf-8", name + ".csv", b.Bytes()}, nil
	case "html":
		if err := made.HTML(&b); err != nil {
			return nil, err
		}
		return reportFile{"text/html; charset=utf-8", name + ".html", b.Bytes()}, nil
	case "text":
		if err := made.Text(&b); err != nil {
			return nil, err
		}
		return reportFile{"text/plain; charset=utf-8", name + ".txt", b.Bytes()}, nil
	}
	return GetReport200JSONResponse(*made), nil
}

// reportFile is a report that is no JSON. A browser shows a page and keeps a table.
type reportFile struct {
	media, name string
	body        []byte
}

// VisitGetReportResponse writes the file.
func (f reportFile) VisitGetReportResponse(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", f.media)
	h.Set("Content-Disposition", `inline; filename="`+f.name+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(f.body)
	return err
}
