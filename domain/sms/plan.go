package sms

import (
	"fmt"
	"strconv"
	"strings"
)

// A plan is what is certain about the numbers of one calling code: how they are written, not
// which of them are in service.
type plan struct {
	code      string   // the calling code (ITU-T E.164, list of assigned codes), in digits
	countries []string // ISO 3166-1 alpha-2, the main one first; none for a network of no country
	trunks    []string // what is dialled in front of a national number
	abroad    []string // what is dialled in front of a calling code
	// handset has the lengths of the numbers that handsets have, without the calling code; all has
	// those of every number (fixed lines, services). Bit n is set for n digits.
	handset, all uint16
	// metadata is what the number metadata says about the plan's numbers. It is made when it is first asked for.
	metadata func() *automaton
}

// planTable has every calling code that the ITU has assigned and that is in use: code, countries,
// trunk prefixes, international prefixes, lengths of handsets' numbers, lengths of all numbers.
// The lengths are of November 2026, from the national plans that countries notify to the ITU (as
// the number metadata has them), with those of up to 15 digits in all.
const planTable = `
1 US,AG,AI,AS,BB,BM,BS,CA,DM,DO,GD,GU,JM,KN,KY,LC,MP,MS,PR,SX,TC,TT,VC,VG,VI 1 011 10 10
7 RU,KZ 8 810,00 10 10,14
20 EG 0 00 10 8-10
27 ZA 0 00 5-9 5-10
30 GR - 00 10 10-12
31 NL 0 00 9,11 5-11
32 BE 0 00 9 8-9
33 FR 0 00 9 9
34 ES - 00 9 9
36 HU 06 00 9 8-9
39 IT,VA - 00 9-10 6-12
40 RO 0 00 9 6,9
41 CH 0 00 9 9,12
43 AT 0 00 7-13 4-13
44 GB,GG,IM,JE 0 00 10 7,9-10
45 DK - 00 8 8
46 SE 0 00 9 6-10,12
47 NO,SJ - 00 8 5,8
48 PL - 00 9 6-10
49 DE 0 00 10-11 4-13
51 PE 0 00 9 8-9
52 MX 01,02,044,045 00,09 10 10
53 CU 0 119 8 6-8,10
54 AR 0 00 10-11 10-11
55 BR 0 0012,0014,0015,0021,0022,0023,0024,0025,0031,0041,0043,0055,0065,0099,00 10-11 8-11
56 CL - 00,1100,1230,1690,1710,1880 9 9-11
57 CO 0 005,007,009,00414,00444,00456,00 10 8,10-11
58 VE 0 00 10 10
60 MY 0 00 9-10 8-10
61 AU,CC,CX 0 0011 9 5-10,12
62 ID 0 008,009,00 9-12 7-13
63 PH 0 00 10 6,8-13
64 NZ 0 00 8-10 5-10
65 SG - 000,001,002,003,004,005,006,007,008,009,010,011,012,013,014,015,016,017,018,019,020,021,022,023,024,025,026,027,028,029,030,031,032,033,034,035,036,037,038,039 8 8,10-11
66 TH 0 001,002,003,004,005,006,007,008,009 9 8-10,13
81 JP 0 010 10 8-13
82 KR 0 001,002,005,006,008,009,00345,00365,00391,00700,00727,003,00755,00761,00762,00766 9-10 5-6,8-13
84 VN 0 00 9 7-10
86 CN 0 00 11 7-12
90 TR 0 00 10 7,10,12-13
91 IN 0 00 10 8-13
92 PK 0 00 10 8-12
93 AF 0 00 9 9
94 LK 0 00 9 9
95 MM 0 00 7-10 6-10
98 IR 0 00 10 4-7,10
211 SS 0 00 9 9
212 MA,EH 0 00 9 9
213 DZ 0 00 9 8-9
216 TN - 00 8 8
218 LY 0 00 9 9
220 GM - 00 7 7
221 SN - 00 9 9
222 MR - 00 8 8
223 ML - 00 8 8
224 GN - 00 9 8-9
225 CI - 00 10 10
226 BF - 00 8 8
227 NE - 00 8 8
228 TG - 00 8 8
229 BJ - 00 10 8,10
230 MU - 00,020,040,050,060,070,030,033 8 7-8,10
231 LR 0 00 7,9 7-9
232 SL 0 00 8 8
233 GH 0 00 9 8-9
234 NG 0 009 10 10-12
235 TD - 00,16 8 8
236 CF - 00 8 8
237 CM - 00 9 8-9
238 CV - 0 7 7
239 ST - 00 7 7
240 GQ - 00 9 9
241 GA - 00 7-8 7-8
242 CG - 00 9 9
243 CD 0 00 7,9 7-10
244 AO - 00 9 9
245 GW - 00 9 7,9
246 IO - 00 7 7
247 AC - 00 5 5-6
248 SC - 00,01,02,010 7 7
249 SD 0 00 9 9
250 RW 0 00 9 8-9
251 ET 0 00 9 9
252 SO 0 00 7-9 6-9
253 DJ - 00 8 8
254 KE 0 000 9 7-10
255 TZ 0 000,005,006 9 9
256 UG 0 000,005,007 9 9
257 BI - 00 8 8
258 MZ - 00 9 8-9
260 ZM 0 00 9 9
261 MG 0 00 9 9
262 RE,YT 0 00 9 9
263 ZW 0 00 9 5-10
264 NA 0 00 9 8-9
265 MW 0 00 9 7,9
266 LS - 00 8 8
267 BW - 00 8 7-8,10
268 SZ - 00 8 8-9
269 KM - 00 7 7
290 SH,TA - 00 5 4-5
291 ER 0 00 7 7
297 AW - 00 7 7
298 FO - 00 6 6
299 GL - 00 6 6
350 GI - 00 8 8
351 PT - 00 9 9
352 LU - 00 9 4-11
353 IE 0 00 9 7-10
354 IS - 00 7,9 7,9
355 AL 0 00 9 6-9
356 MT - 00 8 8
357 CY - 00 8 8
358 FI,AX 0 00,990,991,994,996,999 6-10 5-12
359 BG 0 00 8-9 6-9,12
370 LT 0,8 00 8 8
371 LV - 00 8 8
372 EE - 00 7-8 7-8,10
373 MD 0 00 8 8
374 AM 0 00 8 8
375 BY 80,8,0 810,00 9 6-11
376 AD - 00 6,9 6,8-9
377 MC 0 00 8-9 8-9
378 SM - 00 8 8,10
380 UA 0 00 9 9-10
381 RS 0 00 8-10 6-12
382 ME 0 00 8 8-9
383 XK 0 00 8 8-12
385 HR 0 00 8-9 7-9
386 SI 0 00 8 5-8
387 BA 0 00 8-9 8-9
389 MK 0 00 8 8
420 CZ - 00 9 9-12
421 SK 0 00 9 6-7,9
423 LI 0 00 7,9 7,9
500 FK - 00 5 5
501 BZ - 00 7 7,11
502 GT - 00 8 8,11
503 SV - 00 8 7-8,11
504 HN - 00 8 8,11
505 NI - 00 8 8
506 CR - 00 8 8,10
507 PA - 00 7-8 7-8,10-11
508 PM 0 00 6,9 6,9
509 HT - 00 8 8
590 GP,BL,MF 0 00 9 9
591 BO 0 0010,0011,0012,0013,0014,0015,0016,0017,0018,0019,00 8 8-9
592 GY - 001 7 7
593 EC 0 00 9 8-11
594 GF 0 00 9 9
595 PY 0 00 9 6-11
596 MQ 0 00 9 9
597 SR - 00 7 6-7
598 UY 0 00 8 4-12
599 CW,BQ - 00 7-8 7-8
670 TL - 00 8 7-8
672 NF - 00 6 6
673 BN - 00 7 7
674 NR - 00 7 7
675 PG - 00 8 7-8
676 TO - 00 7 5,7
677 SB - 00,01 5,7 5,7
678 VU - 00 7 5,7
679 FJ - 00,052 7 7,11
680 PW - 011,012 7 7
681 WF - 00 6 6,9
682 CK - 00 5 5
683 NU - 00 4,7 4,7
685 WS - 0 7,10 5-7,10
686 KI 0 00 8 5,8
687 NC - 00 6 6
688 TV - 00 6-7 5-7
689 PF - 00 8 6,8-9
690 TK - 00 4-7 4-7
691 FM - 00 7 7
692 MH 1 011 7 7
800 - - - 8 8
808 - - - 8 8
850 KP 0 00,99 10 8,10
852 HK - 001,002,006,007,009,0030,0050,0059,00 8 5-9,11
853 MO - 00 8 7-8
855 KH 0 001,004,005,006,007,008,009 8-9 8-10
856 LA 0 00 9-10 8-10
870 - - - 9,12 9,12
878 - - - 12 12
880 BD 0 00 10 6-10
881 - - - 9-10 9-10
882 - - - 7-10,12 7-12
883 - - - 8-12 8-12
886 TW 0 002,005,006,007,009,019 9 7-11
888 - - - 11 11
960 MV - 00 7 7,10
961 LB 0 00 7-8 7-8
962 JO 0 00 9 8-9
963 SY 0 00 9 8-9
964 IQ 0 00 10 8-10
965 KW - 00 8 7-8
966 SA 0 00 9 9-10
967 YE 0 00 9 7-9
968 OM - 00 8 7-9
970 PS 0 00 9 8-10
971 AE 0 00 9 5-12
972 IL 0 00,012,013,014,015,016,017,018,019 9 7-12
973 BH - 00 8 8
974 QA - 00 8 7-9,11
975 BT - 00 8 7-8
976 MN 0 001 8 8-10
977 NP 0 00 10 8,10-11
979 - - - 9 9
992 TJ 8 810,00 9 9
993 TM 8 810,00 8 8
994 AZ 0 00 9 9
995 GE 0 00 9 9
996 KG 0 00 9 9-10
998 UZ 8 00 9 9
`

var (
	plansByCode    = buildPlans()
	plansByCountry = indexPlans(plansByCode)
)

func buildPlans() map[string]*plan {
	out := map[string]*plan{}
	for line := range strings.Lines(strings.TrimSpace(planTable)) {
		f := strings.Fields(line)
		if len(f) != 6 {
			panic("plan: " + line)
		}
		out[f[0]] = &plan{code: f[0], countries: list(f[1]), trunks: list(f[2]), abroad: list(f[3]), handset: lengths(f[4]), all: lengths(f[5]), metadata: metadataOf(f[0])}
	}
	return out
}

func indexPlans(byCode map[string]*plan) map[string]*plan {
	out := map[string]*plan{}
	for _, p := range byCode {
		for _, c := range p.countries {
			out[c] = p
		}
	}
	return out
}

// IsCountry reports whether c is the ISO 3166-1 alpha-2 code, in capitals, of a country or territory
// that has phone numbers.
func IsCountry(c string) bool { return plansByCountry[c] != nil }

func list(s string) []string {
	if s == "-" {
		return nil
	}
	return strings.Split(s, ",")
}

// lengths reads "8-10,12".
func lengths(s string) (bits uint16) {
	for _, r := range strings.Split(s, ",") {
		low, high, isRange := strings.Cut(r, "-")
		if !isRange {
			high = low
		}
		a, err := strconv.Atoi(low)
		b, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil || a < 1 || b > 15 {
			panic(fmt.Sprintf("plan: lengths %q", s))
		}
		for n := a; n <= b; n++ {
			bits |= 1 << n
		}
	}
	return bits
}

// has reports whether a set of lengths has n.
func has(bits uint16, n int) bool { return n >= 0 && n < 16 && bits&(1<<n) != 0 }

// split divides the digits of an international number, without its plus sign, into the plan of
// its calling code and the rest. The plan is nil if no assigned calling code begins the digits: no
// calling code begins another.
func split(digits string) (p *plan, national string) {
	for n := 1; n <= 3 && n <= len(digits); n++ {
		if p := plansByCode[digits[:n]]; p != nil {
			return p, digits[n:]
		}
	}
	return nil, ""
}

// The bounds of an international number, in digits with its calling code.
const (
	minDigits = 7  // the shortest in use, such as Niue's: +683 and 4 digits
	maxDigits = 15 // ITU-T E.164 §6
)

// zeroTrunk are the calling codes where a 0 is dialled in front of a national number and is not
// part of it. A number there may begin with 00 (a few services), so two zeros stay.
var zeroTrunk = wordSet(`
	20 27 31 32 33 40 41 43 44 46 49 51 53 54 55 57 58 60 61 62 63 64 66 81 82 84 86 90 91 92 93 94 95 98 211 212 213 218 231 232 233 234 243 249 251 252
	254 255 256 260 261 262 263 264 265 291 353 355 358 359 373 374 377 380 381 382 383 385 386 387 389 421 423 508 590 591 593 594 595 596 598 686 850
	855 856 880 886 961 962 963 964 966 967 970 971 972 976 977 994 995 996
`)

// trunkForms are the other trunk prefixes, where the number of digits tells that one is in front:
// the prefix, the digits with it, and what follows it, where services would look alike otherwise.
var trunkForms = map[string][]struct {
	prefix string
	digits int
	before string // the digits of which one follows; "": any
}{
	"1":   {{"1", 11, ""}},
	"7":   {{"8", 11, ""}},
	"36":  {{"06", 10, ""}, {"06", 11, ""}},
	"52":  {{"1", 11, ""}, {"01", 12, ""}, {"02", 12, ""}, {"044", 13, ""}, {"045", 13, ""}}, // the 1 was abolished in 2019
	"250": {{"0", 10, ""}},
	"370": {{"8", 9, ""}, {"0", 9, ""}},
	"375": {{"80", 11, "1234"}, {"8", 10, "1234"}, {"0", 10, "1234"}},
	"692": {{"1", 8, ""}},
	"992": {{"8", 10, ""}},
	"993": {{"8", 9, ""}},
	"998": {{"8", 10, ""}},
}

func wordSet(words string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(words) {
		out[w] = true
	}
	return out
}

// canonical brings the digits after a calling code into the one form of their subscriber. It
// depends on nothing but the digits, so that a form never changes with the number metadata. To
// change what it answers for any digits is a new version of CanonicalForms.
func canonical(code, national string) string {
	for {
		next := national
		if zeroTrunk[code] && len(next) > 1 && next[0] == '0' && next[1] != '0' {
			next = next[1:]
			if code == "55" && len(next) >= 12 && brazilCarriers[next[:2]] {
				next = next[2:]
			}
		}
		for _, f := range trunkForms[code] {
			rest, ok := strings.CutPrefix(next, f.prefix)
			if ok && len(next) == f.digits && (f.before == "" || strings.ContainsRune(f.before, rune(rest[0]))) {
				next = rest
				break
			}
		}
		if next == national {
			break
		}
		national = next
	}
	if code == "54" {
		return argentina(national)
	}
	return national
}

// brazilCarriers are the codes by which a caller in Brazil chooses a carrier, after the trunk 0.
var brazilCarriers = wordSet("12 14 15 21 22 23 24 25 31 41 43 45 55 65 99")

// argentina puts the 9 of a mobile number in and takes the 15 out, which is dialled in its place
// within the country. A number without the 9 is read as the mobile number with the same digits:
// the plan gives both to one subscriber, and carriers leave the 9 out. Area codes begin with 11, 2
// or 3; services (600, 800, 810) do not, and stay as they are.
func argentina(national string) string {
	rest, nine := strings.CutPrefix(national, "9")
	if !nine {
		rest = national
	}
	if len(rest) == 12 {
		if n := argentinaArea(rest); n > 0 && rest[n:n+2] == "15" {
			rest = rest[:n] + rest[n+2:]
		}
	}
	if len(rest) == 10 && rest[0] >= '1' && rest[0] <= '3' {
		return "9" + rest
	}
	return national
}

// argentinaArea is the length of the area code that a number begins with; 0 if it begins with none.
func argentinaArea(national string) int {
	switch {
	case strings.HasPrefix(national, "11"):
		return 2
	case argentinaThree[national[:3]]:
		return 3
	case national[0] == '2' || national[0] == '3':
		return 4
	}
	return 0
}

// argentinaThree are the area codes of three digits (ENACOM, Plan Fundamental de Numeración Nacional).
var argentinaThree = wordSet("220 221 223 230 236 237 249 260 261 263 264 266 280 291 294 297 298 299 " +
	"336 341 342 343 345 348 351 353 358 362 364 370 376 379 380 381 383 385 387 388")
