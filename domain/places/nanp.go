package places

// The zones below have one IANA name for each set of rules that has been in force since 2007. So
// Detroit is America/New_York, and Juneau is America/Anchorage.
const (
	eastern  = "America/New_York"
	central  = "America/Chicago"
	mountain = "America/Denver"
	arizona  = "America/Phoenix"
	pacific  = "America/Los_Angeles"
	alaska   = "America/Anchorage"
	aleutian = "America/Adak"
	hawaii   = "Pacific/Honolulu"
)

// usState is one state (or the District of Columbia), with its area codes, by zone. The zones are
// those that the state's law or 49 CFR part 71 sets anywhere in it.
type usState struct {
	code  string
	areas []usArea
}

// usArea is a set of area codes of one state, with overlays, and every zone in them.
type usArea struct {
	zones []string
	codes []int
}

// usStates has the geographic area codes of the United States, with overlays, as the North
// American Numbering Plan assigns them, as of November 2026. It has every code that the number
// metadata accepts, which a test checks, and those newer ones that the metadata lacks. An area code in several zones lists all of them. The digits after the area code
// do not help: they say where a number was first given out, not where its holder lives, and a
// mobile number moves freely within its area code.
var usStates = []usState{
	{"AK", []usArea{{[]string{alaska, aleutian}, []int{907}}}},
	{"AL", []usArea{{[]string{central}, []int{205, 251, 256, 334, 483, 659, 938}}}},
	{"AR", []usArea{{[]string{central}, []int{327, 479, 501, 870}}}},
	// The Navajo Nation, in 928, observes daylight saving time; the rest of Arizona does not.
	{"AZ", []usArea{{[]string{arizona}, []int{480, 520, 602, 623}}, {[]string{arizona, mountain}, []int{928}}}},
	{"CA", []usArea{{[]string{pacific}, []int{
		209, 213, 279, 310, 323, 341, 350, 357, 369, 408, 415, 424, 442, 510, 530, 559, 562, 619, 626, 628,
		650, 657, 661, 669, 707, 714, 738, 747, 760, 805, 818, 820, 831, 837, 840, 858, 909, 916, 925, 949, 951}}}},
	{"CO", []usArea{{[]string{mountain}, []int{303, 719, 720, 748, 970, 983}}}},
	{"CT", []usArea{{[]string{eastern}, []int{203, 475, 860, 959}}}},
	{"DC", []usArea{{[]string{eastern}, []int{202, 771}}}},
	{"DE", []usArea{{[]string{eastern}, []int{302}}}},
	{"FL", []usArea{
		{[]string{eastern}, []int{239, 305, 321, 324, 352, 386, 407, 561, 645, 656, 689, 727, 728, 754, 772, 786, 813, 863, 904, 941, 954}},
		{[]string{central, eastern}, []int{448, 850}}, // the panhandle, on both sides of the Apalachicola
	}},
	{"GA", []usArea{{[]string{eastern}, []int{229, 404, 470, 478, 678, 706, 762, 770, 912, 943}}}},
	{"HI", []usArea{{[]string{hawaii}, []int{808}}}},
	{"IA", []usArea{{[]string{central}, []int{319, 515, 563, 641, 712}}}},
	{"ID", []usArea{{[]string{mountain, pacific}, []int{208, 986}}}},
	{"IL", []usArea{{[]string{central}, []int{
		217, 224, 309, 312, 331, 447, 464, 618, 630, 708, 730, 773, 779, 815, 847, 861, 872}}}},
	{"IN", []usArea{
		{[]string{eastern}, []int{260, 317, 463, 765}},
		{[]string{central, eastern}, []int{219, 574, 812, 930}}, // the north-west and the south-west are Central
	}},
	// Sherman, Wallace, Greeley and Hamilton counties are Mountain.
	{"KS", []usArea{{[]string{central}, []int{316, 913}}, {[]string{central, mountain}, []int{620, 785}}}},
	{"KY", []usArea{
		{[]string{eastern}, []int{502, 859}},
		{[]string{central, eastern}, []int{270, 364, 606}}, // 606 has Clinton County, which is Central
	}},
	{"LA", []usArea{{[]string{central}, []int{225, 318, 337, 457, 504, 985}}}},
	{"MA", []usArea{{[]string{eastern}, []int{339, 351, 413, 508, 617, 774, 781, 857, 978}}}},
	{"MD", []usArea{{[]string{eastern}, []int{227, 240, 301, 410, 443, 667}}}},
	{"ME", []usArea{{[]string{eastern}, []int{207}}}},
	{"MI", []usArea{
		{[]string{eastern}, []int{231, 248, 269, 313, 517, 586, 616, 679, 734, 810, 947, 989}},
		{[]string{central, eastern}, []int{906}}, // four counties of the Upper Peninsula are Central
	}},
	{"MN", []usArea{{[]string{central}, []int{218, 320, 507, 612, 651, 763, 924, 952}}}},
	{"MO", []usArea{{[]string{central}, []int{235, 314, 417, 557, 573, 636, 660, 816, 975}}}},
	{"MS", []usArea{{[]string{central}, []int{228, 471, 601, 662, 769}}}},
	{"MT", []usArea{{[]string{mountain}, []int{406}}}},
	{"NC", []usArea{{[]string{eastern}, []int{252, 336, 472, 704, 743, 828, 910, 919, 980, 984}}}},
	{"ND", []usArea{{[]string{central, mountain}, []int{701}}}},
	{"NE", []usArea{{[]string{central}, []int{402, 531}}, {[]string{central, mountain}, []int{308}}}},
	{"NH", []usArea{{[]string{eastern}, []int{603}}}},
	{"NJ", []usArea{{[]string{eastern}, []int{201, 551, 609, 640, 732, 848, 856, 862, 908, 973}}}},
	{"NM", []usArea{{[]string{mountain}, []int{505, 575}}}},
	// West Wendover and Jackpot keep Mountain time.
	{"NV", []usArea{{[]string{pacific}, []int{702, 725}}, {[]string{mountain, pacific}, []int{775}}}},
	{"NY", []usArea{{[]string{eastern}, []int{
		212, 315, 329, 332, 347, 363, 516, 518, 585, 607, 624, 631, 646, 680, 716, 718, 838, 845, 914, 917, 929, 934}}}},
	{"OH", []usArea{{[]string{eastern}, []int{216, 220, 234, 283, 326, 330, 380, 419, 436, 440, 513, 567, 614, 740, 937}}}},
	{"OK", []usArea{{[]string{central}, []int{405, 539, 572, 580, 918}}}},
	// Malheur County is Mountain.
	{"OR", []usArea{{[]string{pacific}, []int{503, 971}}, {[]string{mountain, pacific}, []int{458, 541}}}},
	{"PA", []usArea{{[]string{eastern}, []int{215, 223, 267, 272, 412, 445, 484, 570, 582, 610, 717, 724, 814, 835, 878}}}},
	{"RI", []usArea{{[]string{eastern}, []int{401}}}},
	{"SC", []usArea{{[]string{eastern}, []int{803, 821, 839, 843, 854, 864}}}},
	{"SD", []usArea{{[]string{central, mountain}, []int{605}}}},
	{"TN", []usArea{
		{[]string{central}, []int{615, 629, 731, 901, 931}},
		{[]string{eastern}, []int{865}},
		{[]string{central, eastern}, []int{423, 729}}, // Marion and Sequatchie counties are Central
	}},
	{"TX", []usArea{
		{[]string{central}, []int{
			210, 214, 254, 281, 325, 346, 361, 409, 430, 469, 512, 621, 682, 713, 726, 737, 806, 817, 830, 832, 903,
			936, 940, 945, 956, 972, 979}},
		{[]string{mountain}, []int{915}},
		{[]string{central, mountain}, []int{432}}, // the north-west of Culberson County
	}},
	{"UT", []usArea{{[]string{mountain}, []int{385, 435, 801}}}},
	{"VA", []usArea{{[]string{eastern}, []int{276, 434, 540, 571, 686, 703, 757, 804, 826, 948}}}},
	{"VT", []usArea{{[]string{eastern}, []int{802}}}},
	{"WA", []usArea{{[]string{pacific}, []int{206, 253, 360, 425, 509, 564}}}},
	{"WI", []usArea{{[]string{central}, []int{262, 274, 353, 414, 534, 608, 715, 920}}}},
	{"WV", []usArea{{[]string{eastern}, []int{304, 681}}}},
	{"WY", []usArea{{[]string{mountain}, []int{307}}}},
}

// withoutPlace are the zones, by country, where the holder of a number under +1 may be whose area code
// is no place (toll-free, 500) or is not in the table yet, besides the places of all area codes: the
// territories of the United States, which are countries of their own here, and Canada.
var withoutPlace = map[string][]string{
	"AS": {"Pacific/Pago_Pago"}, "GU": {"Pacific/Guam"}, "MP": {"Pacific/Saipan"},
	"PR": {"America/Puerto_Rico"}, "VI": {"America/St_Thomas"},
	"CA": canadaZones,
}
