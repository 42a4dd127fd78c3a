#!/bin/bash
# Slurm: a rank on every node, all cores of it its own: sbatch examples/distributed/slurm.sh my.yaml
#SBATCH --job-name=lowrank
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --open-mode=append
set -euo pipefail

config=${1:?the config to train, e.g. sbatch slurm.sh my.yaml}
shift

# Two minutes before the time is up Slurm sends SIGTERM to the ranks: they finish the step and write a checkpoint. --resume goes on from
# it when the job is started again, and starts at the beginning where there is none. MPI comes from Slurm itself (srun --mpi=list names
# what is there: pmix, or pmi2 for MPICH).
status=0
srun --mpi="${LOWRANK_SRUN_MPI:-pmix}" --cpu-bind=none --kill-on-bad-exit=1 \
  lowrank train --config "$config" --resume "$@" || status=$?

# 75: a rank or its memory was lost; 130 and 143: told to stop, with a checkpoint written; 137: killed. All else would end alike.
case $status in
  75 | 130 | 137 | 143) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$status"
