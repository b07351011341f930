package door

import (
	"cmp"
	"slices"
	"strings"
)

// kind is what is fixed about a problem. help is the text of its page.
type kind struct {
	status      int
	title, help string
}

// problems is the one table of all that the API answers to a request that it
// refuses or cannot serve, by code. Each face's document lists what it answers.
var problems = map[string]kind{
	// What HTTP and the key say.
	"unauthorized":           {401, "The key is missing or wrong", "Send your API key in the header Authorization, as: Bearer, a space, the key. A key that was revoked or belongs to another server gets the same answer."},
	"forbidden":              {403, "The key lacks a scope", "The detail names the scope that the operation needs. Use a key that has it, or ask the operator for one."},
	"not_found":              {404, "There is nothing at this address", "Look up the path in /docs."},
	"method_not_allowed":     {405, "The address does not allow this method", "The header Allow lists the methods that it allows."},
	"not_acceptable":         {406, "Answers are JSON", "Accept application/json, or leave the header Accept out."},
	"body_too_large":         {413, "The body is larger than 1 MiB", "Send less at once; divide a long list over several calls."},
	"unsupported_media_type": {415, "The body must be JSON", "Send the header Content-Type: application/json, in UTF-8 and without a Content-Encoding."},
	"bad_parameter":          {400, "A parameter is malformed", "The detail names the parameter and says how to write it. Give each parameter once."},

	// What the body's form says.
	"malformed_json":    {400, "The body is not JSON", "The detail says where it stops being JSON. Use a JSON library to write it (RFC 8259)."},
	"trailing_data":     {400, "Something follows the JSON object", "Send exactly one object."},
	"invalid_utf8":      {400, "A text is not valid Unicode", "Encode the body as UTF-8, and characters past U+FFFF in escapes as both halves of their surrogate pair."},
	"duplicate_field":   {400, "A field is there twice", "Programs differ on which value counts, so both are refused. Send the field once."},
	"nested_too_deep":   {400, "The body is nested too deep", "No request needs more than 8 levels."},
	"unknown_field":     {422, "There is no such field", "Names are exact, in lower case. Fields that the API does not know are refused, so that no misspelt field is ignored silently."},
	"missing_field":     {422, "A required field is missing", "The pointer names it."},
	"wrong_type":        {422, "A field has the wrong type", "The detail says which type it takes."},
	"null_not_allowed":  {422, "A field is null", "Leave the field out instead."},
	"out_of_range":      {422, "A number is out of its range", "The detail gives the range."},
	"invalid_time":      {422, "A time is malformed", "Write it as RFC 3339 says: 2026-11-26T15:00:00Z."},
	"invalid_duration":  {422, "A duration is malformed or out of its range", "Write it as 30s, 15m or 1h30m."},
	"invalid_value":     {422, "A field has a value that it cannot have", "The detail lists the values, or says how to write the field."},
	"invalid_cursor":    {422, "The cursor belongs to another search", "Send the next_cursor of the page before with exactly the same search, or leave the cursor out to begin with the first page."},
	"cursor_gone":       {410, "The cursor is from before what the feed tells now", "The ledger was recovered or restored since, or the server was upgraded. Call without after, and skip the records whose id you have; or compare what you keep with POST /v1/opt-outs/check and POST /v1/messages/search, and go on with after=now."},
	"invalid_position":  {422, "A position is malformed or is not in this ledger", "Send a position that this server gave in an answer, such as 07-1234."},
	"too_many":          {422, "A list is too long", "The detail gives the limit. Divide the list over several calls."},
	"event_not_found":   {404, "There is no such event", "Check the id. If an event is not found by its id, ask with its position. An event of another tenant gets the same answer."},
	"message_not_found": {404, "There is no such message", "Check the id. A message of another tenant gets the same answer."},
	"message_left":      {409, "The message has already left, or has reached its end", "The member state has its status. No further attempt to send it will be made."},

	// What the number says.
	"not_e164":           {422, "The number is not in E.164", "Write a plus sign, the country calling code and the number, or the national number with its country."},
	"unknown_country":    {422, "The country is not known", "Give two letters of ISO 3166-1, such as US or GB."},
	"invalid_number":     {422, "The number does not exist", "Its country's numbering plan has no such number. Check its digits, its length and its country."},
	"cannot_receive_sms": {422, "The number cannot receive SMS", "It is a fixed line, a premium-rate number or the like. Ask for a mobile number."},

	// What the ledger refuses.
	"idempotency_key_reused":  {422, "The Idempotency-Key was used with another input", "A key stands for one message. Use a new one for a new message, and the old one only to repeat the very same call."},
	"invalid_idempotency_key": {422, "The Idempotency-Key is malformed", "It has 1 to 255 bytes of text. A UUID or your own order number will do."},
	"unknown_program":         {422, "There is no such program", "Name a registered program of your tenant, or register it first with PUT /v1/programs."},
	"program_not_found":       {404, "There is no such program", "Check the name. Programs of other tenants get the same answer."},
	"unknown_sender":          {422, "No program has this sender ID", "An opt-out of it would stop nothing. Name a sender ID that a program of the tenant registers, or record a wider scope."},
	"program_required":        {422, "The scope needs a program", "Name the program that it is about. With scope legal_entity: its legal entity."},
	"purpose_not_registered":  {422, "The program is not registered for this purpose", "Use one of the purposes for which the program is registered, or another program."},
	"invalid_program":         {422, "The program cannot be registered", "The pointer names the field, and the detail says what is allowed in it."},
	"sender_owned":            {409, "Another tenant has this sender ID", "A sender ID has one owner among tenants: the one to which the operator granted it, else the first that registered it. Leave it out, or, if it is yours, ask the operator to grant it to you. The detail says if the registration was recorded all the same."},
	"entity_owned":            {409, "Another tenant has this legal entity", "A legal entity has one owner among tenants: the one to which the operator granted it, else the first that registered it. Names are compared without regard to upper case, lower case and spaces. If it is yours, ask the operator to grant it to you."},
	"entity_similar":          {409, "A legal entity of this tenant has nearly this name", "Opt-outs bind a legal entity by its name. Write the name exactly as the other program has it, or choose one that is clearly another; the detail has the name that is there."},
	"level_too_low":           {409, "The ledger's format level is too low", "The detail names the level that is needed. Ask the operator to raise it with chirograph log raise, once every node runs a version that knows the level."},
	"invalid_priority":        {422, "The priority is out of its range", "A priority is 1 (last) to 9 (first)."},
	"invalid_sender":          {422, "The sender ID is malformed", "A sender ID is a number in E.164 with its plus sign, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter."},
	"empty_body":              {422, "The body is empty", "A message needs a text."},
	"body_too_long":           {422, "The text is too long", "A text has at most 8,192 bytes, and at most 10 segments."},
	"too_many_segments":       {422, "The text takes more than 10 segments", "Shorten it. A single character outside the GSM alphabet, such as a curly quote, more than halves what a segment holds."},
	"invalid_body":            {422, "The text is not valid", "Send valid UTF-8."},
	"invalid_reference":       {422, "The reference is malformed", "It has at most 200 printable characters."},
	"invalid_metadata":        {422, "The metadata is malformed", "It has at most 20 entries; names have 1 to 64 bytes and values at most 512, of printable text."},
	"send_at_too_far":         {422, "send_at is too far in the future", "Schedule at most 35 days ahead."},
	"send_at_past":            {422, "send_at has passed", "Leave it out to send at once."},
	"invalid_valid_for":       {422, "valid_for is out of its range", "It is one minute to 7 days, counted from send_at, such as 30m or 24h."},
	"invalid_scope":           {422, "There is no such scope", "A scope is sender, program, legal_entity or tenant."},
	"invalid_source":          {422, "The source is malformed", "Say in at most 40 characters where it came from: phone, email, web, letter."},
	"invalid_evidence":        {422, "The evidence is too long or is not text", "It has at most 4,096 bytes of text."},
	"occurred_at_future":      {422, "occurred_at is in the future", "Say when the person opted out, or leave it out."},
	"nothing_to_lift":         {409, "No opt-out of that scope is in force", "A lift ends the opt-outs of exactly its scope and name. POST /v1/opt-outs/check shows which ones are in force."},
	"evidence_required":       {422, "Evidence is needed", "Say on what evidence, in at most 4,096 bytes of text."},
	"invalid_outcome":         {422, "There is no such outcome of a review", "A review is resolved as stop, narrow, clear or place; several at once as stop or clear."},
	"unknown_legal_entity":    {422, "There is no such legal entity", "Name a legal entity of a registered program of the tenant, exactly as its registration has it."},
	"unknown_tenant":          {422, "There is no such tenant", "Name a tenant that has a registered program."},
	"tenant_required":         {422, "Several tenants may be meant", "Name the tenant for which the message was. The review lists those that are held because of it."},
	"review_not_found":        {404, "There is no such review", "Check the id. A review of another tenant, and a reply that nobody had to read, get the same answer."},
	"opt_out_not_found":       {404, "There is no such opt-out", "Check the id. An event that is no opt-out, and one of another tenant, get the same answer."},
	"inbound_not_found":       {404, "There is no such inbound text", "Check the id. An event that is no inbound text, and one of another tenant, get the same answer."},
	"review_not_open":         {409, "The review is not open", "It was resolved, or a newer reply took its place: then the detail names that one."},
	"operator_places":         {409, "The operator has to place this message", "It is not certain that it is of this person or for this tenant. The hold ends when the operator has placed it."},
	"place_it":                {409, "The message is not placed yet", "Place it, with the person's number and the tenant; or clear it."},
	"already_placed":          {409, "The message is placed already", "Resolve it as stop, narrow or clear."},
	"holds_nothing":           {409, "The review holds nothing", "Resolve it as clear. What stood before still stands; POST /v1/opt-outs/lift ends it."},
	"reason_required":         {422, "A reason is required", "Say why, in at most 500 characters. It is kept for ever and shown to others, so do not write personal data."},
	"invalid_reason":          {422, "The reason is malformed", "It has 3 to 500 printable characters in UTF-8. It is kept for ever, so do not write personal data."},
	"reason_has_number":       {422, "The reason has a number in it", "A reason is kept for ever, so it may have no personal data, and 7 digits in a run look like a phone number. Name the case instead, such as: complaint 4711."},
	"export_not_found":        {404, "There is no such export", "Check the id. An export of another tenant gets the same answer, and on a cluster one that another node has: ask the node that took it."},
	"export_not_ready":        {409, "The export is not made yet", "GET /v1/jobs/{id} shows how far it is. Fetch the file when its state is finished."},
	"export_without_file":     {409, "The export has no file", "It failed, was cancelled, or its file was deleted. Ask for it once more."},
	"export_damaged":          {409, "The file of the export is damaged", "It is not what the server wrote, so it is not given out. Ask for the export once more, and tell the operator."},
	"exports_off":             {409, "This node keeps no exports", "Its operator turns them on with exports.dir in the configuration. Ask another node, or the operator."},
	"too_many_exports":        {429, "Too many exports", "At most 20 exports of a tenant wait or run, and at most 500 are kept. Wait, cancel one, or delete files with DELETE /v1/jobs/{id}."},
	"webhook_not_found":       {404, "There is no such webhook", "Check the id. A webhook of another tenant gets the same answer."},
	"secrets_in_force":        {409, "Two secrets of the webhook sign already", "A third would end the first of them for receivers that still use it. Wait until it ends, or give keep as 0s, which ends both at once."},
	"invalid_url":             {422, "The URL cannot be called", "Write an https URL of at most 2,000 characters, with a host and without user, password and fragment; the detail says what is wrong."},
	"address_not_allowed":     {422, "The URL's address may not be called", "Only public addresses are called, unless the operator allows others (webhooks.allow in the configuration). Use a public address, or ask the operator."},
	"invalid_tls":             {422, "The certificates or the key cannot be used", "They are PEM; the key belongs to the certificate. The detail says which one is wrong."},
	"webhook_changed":         {409, "The webhook was changed at the same time", "Nothing was changed by this call. Read the webhook, and try again."},
	"too_many_webhooks":       {429, "Too many webhooks", "A tenant has at most 20. Delete one that you do not need."},
	"too_many_replays":        {429, "Too many replays", "20 replays of the webhook wait. Try again when they are done; one that is paused or disabled does them once it is enabled."},
	"nothing_to_replay":       {422, "There is nothing to replay", "The detail says why. GET /v1/webhooks/{id}/deliveries lists the deliveries with their numbers."},
	"too_many_deliveries":     {422, "A replay is of at most 10,000 numbers", "The detail has the numbers. Divide them over several calls."},
	"webhooks_off":            {503, "This node has no webhooks", "Its operator has to turn them on. Nothing was done."},
	"not_paused":              {409, "No such pause is in force", "A resume ends the pause of exactly the same program and carrier. GET /readyz lists the pauses in force."},
	"unknown_carrier":         {422, "There is no such carrier", "Name a carrier account that a route uses."},

	// What the ledger could not do.
	"internal":           {500, "Something went wrong here", "The server's log has the cause under the reference. It is not known whether a write was recorded: repeat it with the same Idempotency-Key, or read first."},
	"unavailable":        {503, "The ledger cannot record anything now", "Nothing was written. Try again after the time in Retry-After."},
	"exports_unwritable": {503, "The server cannot write exports now", "Its folder of exports cannot be written, or its disk is full. The export was not asked for. Tell the operator, and try again later."},
	"overloaded":         {503, "Too many requests at once", "Nothing was done. Try again after the time in Retry-After."},
	"behind":             {503, "The views have not read that far yet", "Try again after the time in Retry-After, or read without at_least."},
	"audit_log_behind":   {503, "It cannot be recorded that you read this", "Personal data is shown only if the audit log takes down that it was shown, and it takes nothing down at the moment. Nothing was shown. Try again after the time in Retry-After."},
	"outcome_unknown":    {504, "It is not known whether it was recorded", "Repeat a submit with the same Idempotency-Key: the message is then sent once. It does no harm to repeat a cancel, an opt-out, a lift or a pause."},
}

// Kind is what is the same in every problem of one code.
type Kind struct {
	Code   string
	Status int
	Title  string
	// Help says what to do; it is the text of the problem's page.
	Help string
}

// Kinds lists the problems of all faces, by status and then by code.
func Kinds() []Kind {
	all := make([]Kind, 0, len(problems))
	for code, k := range problems {
		all = append(all, Kind{code, k.status, k.title, k.help})
	}
	slices.SortFunc(all, func(a, b Kind) int { return cmp.Or(a.Status-b.Status, strings.Compare(a.Code, b.Code)) })
	return all
}
