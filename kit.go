package trainer

import "embed"

// Files are the header (core/abi), the shared C (native) and the skeleton (native/null).
//
//go:embed core/abi/trainer_backend.h native/*.h native/*.c native/export.map native/LICENSE native/null
var Files embed.FS
