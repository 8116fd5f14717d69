// Usage: node validate_glb.cjs PATH/TO/node_modules/gltf-validator FILE...; prints one JSON report a line.
const fs = require("fs");
const validator = require(require("path").resolve(process.argv[2]));

(async () => {
  for (const file of process.argv.slice(3)) {
    const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(file)));
    console.log(JSON.stringify(report.issues));
  }
})();
