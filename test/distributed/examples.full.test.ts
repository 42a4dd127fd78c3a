import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { firstRows, TINY } from "../tiny-run.js";
import { begin, CLI, isBuilt, launcherOf } from "./mpi.js";

// What examples/distributed holds, as far as one machine without any of these clusters can try it.
const EXAMPLES = fileURLToPath(new URL("../../examples/distributed/", import.meta.url));
const text = (name: string) => readFileSync(join(EXAMPLES, name), "utf8");
const folder = mkdtempSync(join(tmpdir(), "lowrank-clusters-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const any = z.unknown().optional();
const text_ = z.string().optional();
const count = z.int().optional();
const texts = z.array(z.string()).optional();
const metadata = z
  .strictObject({
    name: text_,
    generateName: text_,
    namespace: text_,
    labels: z.record(z.string(), z.string()).optional(),
    annotations: any,
  })
  .optional();

// Kubernetes' API, core/v1: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
const port = z.strictObject({
  tcpSocket: z.strictObject({ port: z.int() }),
  initialDelaySeconds: count,
  periodSeconds: count,
});
const quantities = z.partialRecord(z.enum(["cpu", "memory", "ephemeral-storage"]), z.string()).optional();
const container = z.strictObject({
  name: z.string(),
  image: z.string(),
  command: texts,
  args: texts,
  env: any,
  workingDir: text_,
  ports: any,
  readinessProbe: port.optional(),
  securityContext: z.strictObject({ runAsUser: count, runAsGroup: count, runAsNonRoot: any }).optional(),
  resources: z.strictObject({ requests: quantities, limits: quantities }).optional(),
  volumeMounts: z
    .array(z.strictObject({ name: z.string(), mountPath: z.string(), readOnly: any, subPath: text_ }))
    .optional(),
});
const pod = z.strictObject({
  containers: z.array(container),
  restartPolicy: z.enum(["Always", "OnFailure", "Never"]).optional(),
  nodeSelector: any,
  serviceAccountName: text_,
  volumes: z
    .array(z.strictObject({ name: z.string(), persistentVolumeClaim: z.strictObject({ claimName: z.string() }) }))
    .optional(),
});
const job = z.strictObject({
  backoffLimit: count,
  activeDeadlineSeconds: count,
  template: z.strictObject({ metadata, spec: pod }),
});

// JobSet v1alpha2: https://github.com/kubernetes-sigs/jobset, api/jobset/v1alpha2/jobset_types.go
const jobSet = z.strictObject({
  replicatedJobs: z.array(
    z.strictObject({
      name: z.string(),
      groupName: text_,
      replicas: count,
      template: z.strictObject({ metadata, spec: job }),
      dependsOn: z.array(z.strictObject({ name: z.string(), status: z.enum(["Ready", "Complete"]) })).optional(),
    }),
  ),
  network: z
    .strictObject({ enableDNSHostnames: any, subdomain: text_, publishNotReadyAddresses: z.boolean() })
    .optional(),
  successPolicy: z.strictObject({ operator: z.enum(["All", "Any"]), targetReplicatedJobs: texts }).optional(),
  failurePolicy: z.strictObject({ maxRestarts: count, restartStrategy: text_, rules: any }).optional(),
  startupPolicy: any,
  suspend: any,
  coordinator: any,
  managedBy: any,
  ttlSecondsAfterFinished: count,
});

// Kubeflow Trainer v1alpha1: https://github.com/kubeflow/trainer, pkg/apis/trainer/v1alpha1/trainingruntime_types.go and trainjob_types.go
const apiVersion = z.literal("trainer.kubeflow.org/v1alpha1");
const RUNTIME = z.strictObject({
  apiVersion,
  kind: z.enum(["TrainingRuntime", "ClusterTrainingRuntime"]),
  metadata,
  spec: z.strictObject({
    mlPolicy: z.strictObject({
      numNodes: count,
      mpi: z.strictObject({
        numProcPerNode: count,
        mpiImplementation: z.enum(["OpenMPI", ""]),
        sshAuthMountPath: text_,
        runLauncherAsNode: z.boolean().optional(),
      }),
    }),
    podGroupPolicy: any,
    template: z.strictObject({ metadata, spec: jobSet }),
  }),
});
const JOB = z.strictObject({
  apiVersion,
  kind: z.literal("TrainJob"),
  metadata,
  spec: z.strictObject({
    runtimeRef: z.strictObject({ name: z.string(), apiGroup: text_, kind: text_ }),
    trainer: z.strictObject({
      image: text_,
      command: texts,
      args: texts,
      env: any,
      numNodes: count,
      resourcesPerNode: any,
      numProcPerNode: count,
    }),
    initializer: any,
    labels: any,
    annotations: any,
    podTemplateOverrides: any,
    suspend: any,
    managedBy: any,
  }),
});

// SkyPilot's YAML: https://docs.skypilot.co/en/latest/reference/yaml-spec.html
const SKY = z.strictObject({
  name: text_,
  workdir: text_,
  num_nodes: count,
  setup: z.string(),
  run: z.string(),
  file_mounts: any,
  volumes: any,
  secrets: any,
  config: any,
  resources: z.strictObject({
    infra: text_,
    accelerators: any,
    cpus: z.string(),
    memory: z.string(),
    instance_type: text_,
    use_spot: z.boolean(),
    disk_size: count,
    disk_tier: text_,
    network_tier: text_,
    image_id: text_,
    ports: any,
    labels: any,
    autostop: any,
    any_of: any,
    ordered: any,
    job_recovery: any,
  }),
  envs: z.record(z.string(), z.string()),
});

const sky = SKY.parse(parse(text("skypilot.yaml")));
const bash = (script: string) => spawnSync("bash", ["-n"], { input: script, encoding: "utf8" });

it("YAML has the fields of the published schemas, and parts that belong together have one name", () => {
  const runtime = RUNTIME.parse(parse(text("kubeflow-runtime.yaml")));
  const run = JOB.parse(parse(text("kubeflow-job.yaml")));
  expect(run.spec.runtimeRef).toMatchObject({ kind: runtime.kind, name: runtime.metadata?.name });
  const { replicatedJobs, successPolicy } = runtime.spec.template.spec;
  expect(replicatedJobs.map(({ name }) => name)).toEqual(["launcher", "node"]);
  expect(successPolicy?.targetReplicatedJobs).toEqual(["launcher"]);
  const image = text("Dockerfile");
  const node = replicatedJobs[1]!.template.spec.template.spec.containers[0]!;
  expect(image).toContain(`Port ${node.readinessProbe!.tcpSocket.port}`);
  expect(image).toContain(`--uid ${node.securityContext!.runAsUser} mpiuser`);
  expect(image).toContain(`${runtime.spec.mlPolicy.mpi.sshAuthMountPath}/authorized_keys`);
});

it("shell scripts are read by bash, and start verbs and options that there are", () => {
  for (const script of [text("slurm.sh"), sky.setup, sky.run])
    expect(bash(script)).toMatchObject({ status: 0, stderr: "" });
  expect(bash("if true; then")).not.toMatchObject({ status: 0 });
  const help = spawnSync(process.execPath, [CLI, "train", "--help"], { encoding: "utf8" }).stdout;
  for (const name of ["slurm.sh", "kubeflow-job.yaml", "skypilot.yaml", "ray_train.py"])
    for (const [, flag] of text(name).matchAll(/train,?.*?(--(?:config|resume|broadcast-base))/g))
      expect(help).toContain(flag);
});

it("what the Dockerfile runs is installed by what it installs", () => {
  const image = text("Dockerfile").replace(/\\\n/g, " ");
  const installed = [...image.matchAll(/apt-get install -y --no-install-recommends ([^&]*)/g)].flatMap((m) =>
    m[1]!.trim().split(/\s+/),
  );
  const providers: Readonly<Record<string, string>> = {
    sshd: "openssh-server",
    ssh: "openssh-client",
    "ssh-keygen": "openssh-client",
    mpirun: "openmpi-bin",
  };
  for (const [program, from] of Object.entries(providers)) expect(installed, program).toContain(from);
  const run = [...image.matchAll(/^RUN (.*)$/gm)]
    .flatMap((m) => m[1]!.split("&&"))
    .map((part) => part.trim().split(/\s+/)[0]);
  expect([...new Set(run)].sort()).toEqual(["apt-get", "lowrank", "mkdir", "npm", "printf", "rm", "useradd"]);
  expect(
    [...image.matchAll(/^([A-Z]+) /gm)]
      .map((m) => m[1])
      .filter((word) => !["FROM", "RUN", "ARG", "USER", "WORKDIR", "CMD"].includes(word!)),
  ).toEqual([]);
});

const launcher = launcherOf("MPICH");
const python = spawnSync("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).status === 0;
it.skipIf(!launcher || !isBuilt || !python)(
  "ray_train.py starts ranks in its actors, which are one world",
  async () => {
    const rows = firstRows(join(folder, "rows.jsonl"), 8);
    const lowrank = `${process.execPath} ${CLI}`;
    const words = [
      "--base",
      TINY,
      "--data",
      rows,
      "--output",
      join(folder, "run"),
      "max_steps=1",
      "data.max_seq_len=64",
      "--json",
    ];
    const { code, out, err } = await begin(
      "python3",
      [join(EXAMPLES, "ray_train.py"), "--ranks", "2", "--lowrank", lowrank, "--", ...words],
      {
        PYTHONPATH: fileURLToPath(new URL("stand-in", import.meta.url)),
      },
    ).ended;
    expect(code, err).toBe(0);
    const events = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string }); // rank 0's alone
    expect(events.filter(({ type }) => type === "step")).toHaveLength(1);
    expect(events.at(-1)).toMatchObject({ type: "end" });
  },
);
